package torture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/waybill-go/waybill/store"
)

// endedRun is a run that has ended, with databases that a test fills.
type endedRun struct {
	*run
	t *testing.T
}

func newEndedRun(t *testing.T) *endedRun {
	t.Helper()
	r := &run{dir: t.TempDir(), prefix: "torture_", chosen: selection{}, named: true, undone: newUndone()}
	for _, x := range []struct {
		side store.Side
		d    **database
	}{{store.Producer, &r.producerDB}, {store.Consumer, &r.consumerDB}} {
		d, err := openDatabase("sqlite:"+filepath.Join(r.dir, string(x.side)+".db"), r.prefix)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		if err := d.create(t.Context(), x.side, true); err != nil {
			t.Fatal(err)
		}
		*x.d = d
	}
	return &endedRun{r, t}
}

func (r *endedRun) exec(d *database, query string, args ...any) {
	r.t.Helper()
	if _, err := d.Exec(d.sql(query), args...); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
}

// producer and consumer run a statement each.
func (r *endedRun) producer(query string, args ...any) {
	r.t.Helper()
	r.exec(r.producerDB, query, args...)
}
func (r *endedRun) consumer(query string, args ...any) {
	r.t.Helper()
	r.exec(r.consumerDB, query, args...)
}

// transfer commits a transfer of 10 and, so many times, its effect.
func (r *endedRun) transfer(token string, effects int) {
	r.t.Helper()
	id := token + "-0"
	r.producer(`INSERT INTO {transfer} VALUES (?, 'account-0000', 'account-0001', 10, 'm')`, id)
	r.producer(`UPDATE {account} SET balance = balance - 10 WHERE id = 'account-0000'`)
	r.producer(`UPDATE {account} SET balance = balance + 10 WHERE id = 'account-0001'`)
	for range effects {
		r.consumer(`UPDATE {consumer_account} SET balance = balance - 10 WHERE id = 'account-0000'`)
		r.consumer(`UPDATE {consumer_account} SET balance = balance + 10 WHERE id = 'account-0001'`)
		r.effect("transfer", id, 0, token, 0)
	}
}

func (r *endedRun) effect(kind, ref string, version int64, token string, sequence int64) {
	r.t.Helper()
	r.consumer(`INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who) VALUES (?, ?, ?, ?, 'm', ?, ?, 0, 0, 'test')`,
		kind, ref, version, token, sequence, 100+sequence)
}

// order commits a state of an order.
func (r *endedRun) order(version int64, token string) {
	r.t.Helper()
	r.state("order-00", version, token)
}

func (r *endedRun) state(order string, version int64, token string) {
	r.t.Helper()
	r.producer(`UPDATE {orders} SET version = ? WHERE id = ?`, version, order)
	r.producer(`INSERT INTO {order_state} VALUES (?, ?, ?, 'm')`, order, version, token)
}

// holds has the consumer take a state of the order.
func (r *endedRun) holds(version int64, token string) {
	r.t.Helper()
	r.takes("order-00", version, token)
}

// takes has the keeper of an order take a state.
func (r *endedRun) takes(order string, version int64, token string) {
	r.t.Helper()
	r.consumer(`UPDATE {consumer_order} SET version = ?, token = ? WHERE id = ?`, version, token, order)
	r.effect(keeperOf(order), order, version, token, version)
}

// audits has the audit take a state.
func (r *endedRun) audits(order string, version int64, token string) {
	r.t.Helper()
	r.effect(auditGroup, auditRef(state{order, version}), version, token, version)
}

// parcel commits a parcel of the first code, the first of its kind, and what arrives of it.
func (r *endedRun) parcel(token, arrives string) {
	r.t.Helper()
	r.producer(`INSERT INTO {parcel} VALUES (?, 0, 1, 'm')`, token+parcelSuffix)
	r.consumer(`INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who, due, digest)
		VALUES ('parcel', ?, 1, ?, 'm', 1, 7, 0, 1000000, 'test', 900000, ?)`, token+parcelSuffix, token, arrives)
}

// errand commits an errand of the first code and of some number and, so many times, its effect.
func (r *endedRun) errand(token string, number int64, effects int) {
	r.t.Helper()
	r.producer(`INSERT INTO {errand} VALUES (?, 0, ?, '')`, token+errandSuffix, number)
	for range effects {
		r.effect(errandKind, token+errandSuffix, 0, token, number)
	}
}

// journals writes what the first producer knows.
func (r *endedRun) journals(lines ...string) {
	r.t.Helper()
	r.writes("producer-1", lines...)
}

// writes adds lines to what a producer knows.
func (r *endedRun) writes(producer string, lines ...string) {
	r.t.Helper()
	text := ""
	for _, line := range lines {
		text += line + "\n"
	}
	if err := os.WriteFile(filepath.Join(r.dir, producer+".1.journal"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// sound is a run in which nothing is wrong: three transactions, one of them unknown, and
// one of the foreign producer's, whose errand is for the foreign consumer; some of each kind
// of message; and two states that were superseded, one of them of a public order.
func (r *endedRun) sound() {
	r.t.Helper()
	r.transfer("a", 1)
	r.order(1, "a")
	r.order(2, "b")
	r.order(3, "u")
	r.holds(2, "b")
	r.holds(3, "u")
	r.state("public-01", 1, "a")
	r.state("public-01", 2, "b")
	r.takes("public-01", 2, "b")
	r.audits("public-01", 2, "b")
	r.audits("public-01", 1, "a")
	r.parcel("a", "d1")
	r.errand("a", 1, 1)
	r.producer(`INSERT INTO {notice} VALUES ('a-notice', 'm')`)
	r.effect(noticeKind, "a-notice", 0, "a", 0)
	const foreign = foreignProducer + ".1-0-0"
	r.producer(`INSERT INTO {errand} VALUES (?, 1, 1, '')`, foreign+errandSuffix)
	r.effect(errandKind, foreign+errandSuffix, 0, foreign, 1)
	r.consumer(`UPDATE {effect} SET who = ? WHERE token = ?`, foreignConsumer+".1", foreign)
	r.writes(foreignProducer, foreign+" committed")
	r.journals("a parcel d1", "a begun", "a committed", "b begun", "b committed", "r rolled-back", "u begun", "v begun", "v unknown")
}

func TestASoundRunIsFoundSound(t *testing.T) {
	r := newEndedRun(t)
	r.sound()
	got, err := r.check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := &result{Sent: 10, Applied: 8, Superseded: 2, RolledBack: 1, Unknown: 2, Broken: map[string]int64{}}
	if !got.ok() || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEachCheckFindsItsViolation(t *testing.T) {
	for _, x := range []struct {
		name  string
		spoil func(r *endedRun)
		want  []string // checks
	}{
		{"a transfer without its effect", func(r *endedRun) { r.transfer("b", 0) }, []string{"conservation", "lost"}},
		{"a transfer with two effects", func(r *endedRun) { r.transfer("b", 2) }, []string{"conservation", "doubled"}},
		{"an effect of nothing", func(r *endedRun) { r.effect("transfer", "x-0", 0, "x", 0) }, []string{"phantom"}},
		{"an effect of a state that was rolled back", func(r *endedRun) { r.holds(4, "r") }, []string{"phantom"}},
		{"a state's effect under another transaction", func(r *endedRun) { r.effect(latestGroup, "order-00", 1, "r", 1) }, []string{"phantom"}},
		{"an older state after a newer one", func(r *endedRun) { r.effect(latestGroup, "order-00", 1, "a", 1) }, []string{"stale"}},
		{"an older state in the newest one's place", func(r *endedRun) { r.holds(1, "a") }, []string{"lost", "stale"}},
		{"a state that took effect twice", func(r *endedRun) { r.holds(3, "u") }, []string{"doubled"}},
		{"the newest state missing", func(r *endedRun) { r.order(4, "b") }, []string{"lost"}},
		{"a public order's newest state missing", func(r *endedRun) {
			r.state("public-01", 3, "b")
			r.audits("public-01", 3, "b")
		}, []string{"lost"}},
		{"a public order's state missing from the audit", func(r *endedRun) {
			r.state("public-01", 3, "b")
			r.takes("public-01", 3, "b")
		}, []string{"lost"}},
		{"a state twice in the audit", func(r *endedRun) { r.audits("public-01", 1, "a") }, []string{"doubled"}},
		{"a state in the audit that nobody committed", func(r *endedRun) { r.audits("public-01", 3, "r") }, []string{"phantom"}},
		{"a state in the audit that was not sent to it", func(r *endedRun) { r.audits("order-00", 3, "u") }, []string{"phantom"}},
		{"a public order's older state after a newer one", func(r *endedRun) { r.effect(mirrorGroup, "public-01", 1, "a", 1) }, []string{"stale"}},
		{"a state that is held without its effect", func(r *endedRun) {
			r.order(4, "b")
			r.consumer(`UPDATE {consumer_order} SET version = 4, token = 'b' WHERE id = 'order-00'`)
		}, []string{"lost"}},
		{"a state at a consumer to which it was not sent", func(r *endedRun) { r.effect(mirrorGroup, "order-00", 3, "u", 3) }, []string{"phantom"}},
		{"a wrong sequence", func(r *endedRun) {
			r.order(4, "b")
			r.holds(4, "b")
			r.consumer(`UPDATE {effect} SET sequence = 9 WHERE version = 4`)
		}, []string{"sequence"}},
		{"time stamps out of order", func(r *endedRun) {
			r.order(4, "b")
			r.holds(4, "b")
			r.consumer(`UPDATE {effect} SET time_stamp = 1 WHERE version = 4`)
		}, []string{"sequence"}},
		{"a wrong sequence at the audit", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET sequence = 9 WHERE kind = 'audit' AND version = 2`)
		}, []string{"sequence"}},
		{"time stamps out of order at the audit, where nobody else saw the state", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET time_stamp = 1000 WHERE kind = 'audit' AND version = 1`)
		}, []string{"sequence"}},
		{"a time stamp that is another one at the audit", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET time_stamp = time_stamp + 1 WHERE kind = 'audit' AND version = 2`)
		}, []string{"sequence"}},
		{"a sequence without a key", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET sequence = 1 WHERE kind = 'transfer'`)
		}, []string{"sequence"}},
		{"a time stamp of another day", func(r *endedRun) {
			r.dbClock = clock{began: 2 * 24 * time.Hour.Microseconds(), ended: 2 * 24 * time.Hour.Microseconds()}
		}, []string{"sequence"}},
		{"a parcel's gap in the sequence", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET sequence = 2 WHERE kind = 'parcel'`)
		}, []string{"sequence"}},
		{"a parcel that has changed", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET digest = 'd2' WHERE kind = 'parcel'`)
		}, []string{"altered"}},
		{"a parcel that nobody sent", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET ref = 'x-parcel' WHERE kind = 'parcel'`)
		}, []string{"lost", "phantom"}},
		{"a delayed message before its time", func(r *endedRun) {
			r.consumer(`UPDATE {effect} SET due = 3000000 WHERE kind = 'parcel'`)
		}, []string{"early"}},
		{"a foreign message that took effect twice", func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {}}
			r.effect(foreignKind, "foreign-1", 0, "", 0)
			r.effect(foreignKind, "foreign-1", 0, "", 0)
		}, []string{"doubled"}},
		{"a foreign message that was to take effect", func(r *endedRun) { r.visits = map[string]visitor{"foreign-1": {must: true}, "foreign-2": {}} }, []string{"lost"}},
		{"a foreign message that nobody keeps", func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {must: true}, "foreign-2": {must: true}}
			r.effect(foreignKind, "foreign-1", 0, "", 0)
		}, []string{"lost"}},
		{"a foreign message that took effect twice though nothing tells it from others", func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {must: true, bare: true}}
			r.effect(foreignKind, "foreign-1", 0, "", 0)
			r.effect(foreignKind, "foreign-1", 0, "", 0)
		}, nil},
		{"a foreign message that is kept", func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {must: true, bare: true}}
			r.consumer(`INSERT INTO {n_rejected} (consumer, dest_name, dest_type, delivery, message_id, business_mark, headers, message_content, status, tries, failures, not_before, kept_at, tried_at, reason)
				VALUES ('c', 'd', 0, 'x', 'm', '', '{}', ?, 2, 1, 1, 0, 1, 1, 'no')`, []byte(`{"foreign":"foreign-1"}`))
		}, nil},
		{"an errand that its consumer has not got", func(r *endedRun) { r.errand("b", 2, 0) }, []string{"lost"}},
		{"an errand that was done twice", func(r *endedRun) { r.errand("b", 2, 2) }, []string{"doubled"}},
		{"an errand that nobody sent", func(r *endedRun) { r.effect(errandKind, "x-errand", 0, "x", 0) }, []string{"phantom"}},
		{"an errand with another one's place", func(r *endedRun) {
			r.errand("b", 2, 1)
			r.consumer(`UPDATE {effect} SET sequence = 3 WHERE kind = 'errand' AND token = 'b'`)
		}, []string{"sequence"}},
		{"a consumer that was held up", func(r *endedRun) { r.heldUp = 7 }, []string{"held_up"}},
		{"money from nowhere", func(r *endedRun) {
			r.consumer(`UPDATE {consumer_account} SET balance = balance + 1 WHERE id = 'account-0007'`)
		}, []string{"conservation"}},
		{"a row left over", func(r *endedRun) {
			r.producer(`INSERT INTO {qmessage} (destination, message_content) VALUES ('x', x'00')`)
		}, []string{"leftover"}},
		{"a commit that its database has lost", func(r *endedRun) { r.journals("a parcel d1", "a committed", "b committed", "u begun", "w committed") }, []string{"unsaved"}},
		{"a rollback that its database has", func(r *endedRun) { r.journals("a parcel d1", "a committed", "b rolled-back", "u begun") }, []string{"phantom"}},
		{"a transaction that nobody sent", func(r *endedRun) { r.journals("a parcel d1", "a committed", "b committed") }, []string{"phantom"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newEndedRun(t)
			r.sound()
			x.spoil(r)
			v, err := r.check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(v.Broken)); !slices.Equal(got, x.want) {
				t.Errorf("got violations of %v, want of %v: %v", got, x.want, v.Violations)
			}
			for _, x := range v.Violations {
				if _, err := r.history(t.Context(), x); err != nil {
					t.Errorf("history of %q: got %v, want none", x.text, err)
				}
			}
		})
	}
}

func TestALostNoticeIsTheBrokersWhereItWasToLoseThings(t *testing.T) {
	for _, x := range []struct {
		name         string
		chosen       selection
		lost, unkept int64
	}{
		{"a broker that is trusted", selection{}, 1, 0},
		{"a broker that was to lose things", selection{"messages": true}, 0, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newEndedRun(t)
			r.chosen = x.chosen
			r.sound()
			r.producer(`INSERT INTO {notice} VALUES ('b-notice', 'm')`)
			v, err := r.check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if lost := v.Broken["lost"]; lost != x.lost || v.Unkept != x.unkept || v.ok() != (x.lost == 0) {
				t.Errorf("got %d lost, %d unkept, ok: %v; want %d lost, %d unkept", lost, v.Unkept, v.ok(), x.lost, x.unkept)
			}
		})
	}
}

func TestABrokerIsTrustedUnlessItIsMadeToLoseThings(t *testing.T) {
	const command = "true"
	full := Options{BrokerFill: command, BrokerFree: command}
	wiped := Options{BrokerKill: command, BrokerStart: command, BrokerWipe: command}
	for _, x := range []struct {
		name     string
		o        Options
		chosen   selection
		embedded bool
		want     bool
	}{
		{"that is killed", Options{}, selection{"kill": true, "broker": true}, false, true},
		{"that loses messages", Options{}, selection{"messages": true}, false, false},
		{"that is wiped", wiped, selection{"wipe": true}, false, false},
		{"that would be wiped, without commands for it", Options{}, selection{"wipe": true}, false, true},
		{"that is embedded and wiped", Options{}, selection{"wipe": true}, true, false},
		{"whose disk is full", full, selection{"disk": true}, false, false},
		{"whose disk would be full, without commands for it", Options{}, selection{"disk": true}, false, true},
		{"that is embedded and whose disk is full", Options{}, selection{"disk": true}, true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := &run{o: x.o, chosen: x.chosen}
			if x.embedded {
				r.broker = &process{}
			}
			if got := r.brokerIsTrusted(); got != x.want {
				t.Errorf("got %v, want %v", got, x.want)
			}
		})
	}
}

func TestFaultsAreChosenByName(t *testing.T) {
	for _, x := range []struct {
		names []string
		want  int // -1: an error
	}{
		{nil, len(Faults)},
		{[]string{"all"}, len(Faults)},
		{[]string{"kill", "pause"}, 2},
		{[]string{"-wipe"}, len(Faults) - 1},
		{[]string{"all", "-wipe", "-kill"}, len(Faults) - 2},
		{[]string{"none"}, 0},
		{[]string{"kil"}, -1},
		{[]string{""}, -1},
	} {
		t.Run(fmt.Sprintf("%q", x.names), func(t *testing.T) {
			chosen, err := choose(x.names)
			if got := len(chosen); (err != nil) != (x.want < 0) || err == nil && got != x.want {
				t.Errorf("got %d faults and the error %v, want %d", got, err, x.want)
			}
		})
	}
}

func TestAJournalsHalfLineIsAnUnknownTransaction(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.journal"), []byte("a begun\na committed\nb begun\nb commi"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readJournals(dir)
	if want := map[string]fate{"a": committed, "b": unknown}; err != nil || !maps.Equal(got.fates, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
