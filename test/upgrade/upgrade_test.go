// Package upgrade upgrades a fleet under traffic from version 1, whose source is in
// testdata, to this revision, in the order of docs/use/upgrades.md: the programs one by one,
// and then the tables.
//
// The files: upgrade_test.go (the order, and what must have come of it), fleet_test.go (the
// processes), build_test.go (the programs of both revisions), database_test.go (the
// databases). Command member is what a process runs.
package upgrade

import (
	"fmt"
	"testing"
)

func TestARunningFleetIsUpgradedAndNothingIsLostDoubledOrStale(t *testing.T) {
	programs := build(t)
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, kind, programs)
			f.run(older, "init")
			for _, role := range roles {
				for range each {
					f.start(older, role)
				}
			}
			f.progresses("all are old")
			// Relays, then consumers, then producers: any order will do. The first of a kind
			// stops in good order and the second is killed; in between, old and new ones work
			// side by side, and one goes back.
			for _, role := range roles {
				f.stop(role, 0)
				f.replace(newer, role, 0)
				f.progresses("new and old " + role)
				f.kill(role, 1)
				f.replace(newer, role, 1)
				f.stop(role, 0)
				f.replace(older, role, 0)
				f.progresses("one " + role + " has gone back")
				f.stop(role, 0)
				f.replace(newer, role, 0)
			}
			f.progresses("all are new")
			f.wantVersion(1)
			f.run(newer, "init")
			f.wantVersion(2)
			f.progresses("the tables are upgraded")
			for _, role := range roles {
				f.kill(role, 0)
				f.replace(newer, role, 0)
			}
			f.progresses("processes were started with upgraded tables")
			f.finishes()
			f.judge()
			f.refuses(older, "relay")
			f.refuses(older, "consumer")
		})
	}
}

// roles are those that a fleet has each of.
var roles = []string{"relay", "consumer", "producer"}

// each is how many processes a role has.
const each = 2

// effect is one run of a handler that was committed.
type effect struct {
	key                          string
	version, sequence, timeStamp int64
	body                         string
}

// judge compares what producers have committed with what came of it.
func (f *fleet) judge() {
	f.t.Helper()
	for _, c := range []struct{ consumer, destination string }{
		{"shipping", "payments"}, {"shipping", "ledger"}, {"shipping", "orders"}, {"shipping", "prices"}, {"audit", "prices"},
	} {
		f.t.Run(c.destination+" of "+c.consumer, func(t *testing.T) {
			made := f.read(t, `SELECT business_key, version, 0, 0, body FROM made WHERE destination = '`+c.destination+`' ORDER BY version`)
			effects := f.read(t, `SELECT business_key, version, sequence, time_stamp, body FROM effects
				WHERE consumer = '`+c.consumer+`' AND destination = '`+c.destination+`' ORDER BY id`)
			t.Logf("%d messages, %d effects", len(made), len(effects))
			switch c.destination {
			case "orders", "prices":
				judgeStates(t, made, effects)
			default:
				judgeEach(t, made, effects)
			}
			if c.destination == "ledger" {
				judgeSequences(t, effects)
			}
		})
	}
}

// judgeEach wants one effect of each message.
func judgeEach(t *testing.T, made, effects []effect) {
	t.Helper()
	times := map[string]int{}
	for _, e := range effects {
		times[e.body]++
	}
	for _, m := range made {
		if n := times[m.body]; n != 1 {
			t.Errorf("got %d effects of the message %s, want 1", n, m.body)
		}
		delete(times, m.body)
	}
	for body, n := range times {
		t.Errorf("got %d effects of %s, which nobody has committed", n, body)
	}
}

// judgeStates wants the effects of each key to go forward, by version and by time stamp,
// and to end at the last one that was made.
func judgeStates(t *testing.T, made, effects []effect) {
	t.Helper()
	last := map[string]effect{}
	for _, e := range effects {
		if before := last[e.key]; e.version <= before.version || e.timeStamp <= before.timeStamp {
			t.Errorf("got %+v after %+v, want the key to go forward", e, before)
		}
		last[e.key] = e
	}
	newest := map[string]effect{}
	for _, m := range made {
		newest[m.key] = m // in order of version
	}
	for key, m := range newest {
		if got := last[key]; got.version != m.version || got.body != m.body {
			t.Errorf("got %+v as the last state of %q, want the version %d", got, key, m.version)
		}
	}
}

// judgeSequences wants each key's messages to have sequences without gaps, from 1, and time
// stamps in the same order.
func judgeSequences(t *testing.T, effects []effect) {
	t.Helper()
	byKey := map[string]map[int64]effect{}
	for _, e := range effects {
		if byKey[e.key] == nil {
			byKey[e.key] = map[int64]effect{}
		}
		if other, twice := byKey[e.key][e.sequence]; twice {
			t.Errorf("got the sequence %d of %q twice: %s and %s", e.sequence, e.key, e.body, other.body)
		}
		byKey[e.key][e.sequence] = e
	}
	for key, all := range byKey {
		var before int64
		for sequence := int64(1); sequence <= int64(len(all)); sequence++ {
			e, there := all[sequence]
			if !there {
				t.Errorf("got no message of %q with the sequence %d among %d", key, sequence, len(all))
				continue
			}
			if e.timeStamp <= before {
				t.Errorf("got the time stamp %d of %q, sequence %d, want one above %d", e.timeStamp, key, sequence, before)
			}
			before = e.timeStamp
		}
	}
}

// wantVersion wants both sides' tables to be of a version.
func (f *fleet) wantVersion(want int) {
	f.t.Helper()
	for _, side := range []string{"producer", "consumer"} {
		if got := f.count(fmt.Sprintf(`SELECT version FROM waybill_version WHERE side = '%s'`, side)); got != want {
			f.t.Fatalf("got the %s's tables of version %d, want %d", side, got, want)
		}
	}
}
