package torture

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor/supervisortest"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// nemesisOf makes a nemesis of a run that a test has made.
func nemesisOf(r *run) *nemesis {
	r.injected = map[string]int{}
	if r.fail == nil {
		r.fail = func(error) {}
	}
	return &nemesis{run: r, claims: map[string]bool{}}
}

func dice() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

// strikes lets a fault strike until it has counted, or ended reports true, and returns how
// often it has counted.
func (n *nemesis) strikes(t *testing.T, fault string, f inject, ended func() bool) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(n, ctx, dice())
	}()
	patience.Until(t, "the fault to strike", func() bool { return ended() || n.injectedSoFar()[fault] > 0 })
	cancel()
	<-done
	return n.injectedSoFar()[fault]
}

func never() bool { return false }

func TestASnapshotCountsWhereItIsHeld(t *testing.T) {
	r := newEndedRun(t)
	n := nemesisOf(r.run)
	if got := n.strikes(t, "snapshot", (*nemesis).snapshot, never); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	n = nemesisOf(r.run)
	_ = r.producerDB.Close()
	n.snapshot(t.Context(), dice())
	if got := n.injectedSoFar()["snapshot"]; got != 0 {
		t.Errorf("got %d without a database, want 0", got)
	}
}

func TestARogueLeaderCountsWhereItLeads(t *testing.T) {
	at, err := supervisor.BrokerAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		up   bool // the broker
		want int
	}{{"its broker is away", false, 0}, {"its broker is there", true, 1}} {
		t.Run(x.name, func(t *testing.T) {
			r := newEndedRun(t)
			n := nemesisOf(r.run)
			n.rogue = &process{
				Name: "rogue", Exec: supervisortest.Exec, LogPath: filepath.Join(t.TempDir(), "log"), Failed: func(err error) { t.Error(err) },
				First: func(uint64) command {
					return command{
						Role: relayRole, Name: "rogue.1", Run: "x", Database: "sqlite:" + filepath.Join(r.dir, "producer.db"), Broker: at,
						Prefix: r.prefix, Destinations: destinationsOf("x"), Rogue: true,
					}
				},
			}
			if x.up {
				server, err := supervisor.StartBroker(t.Context(), at, t.TempDir(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = server.Shutdown() }()
			}
			isAtWork := func() bool { // and cannot lead
				_, there := n.rogue.Current()
				return there && !x.up
			}
			if got := n.strikes(t, "leaders", (*nemesis).leaders, isAtWork); got != x.want {
				t.Errorf("got %d, want %d", got, x.want)
			}
		})
	}
}

func TestAServerCountsAsKilledWhereItsCommandSucceeds(t *testing.T) {
	for kill, want := range map[string]int{"true": 1, "false": 0} {
		for fault, inject := range map[string]inject{"broker": (*nemesis).restartBroker, "wipe": (*nemesis).wipeBroker, "database": (*nemesis).restartDatabase} {
			t.Run(fault+" "+kill, func(t *testing.T) {
				t.Parallel()
				n := nemesisOf(&run{o: Options{BrokerKill: kill, BrokerStart: "true", BrokerWipe: "true", DBKill: kill, DBStart: "true"}})
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // it need not rest
				inject(n, ctx, dice())
				if got := n.injected[fault]; got != want {
					t.Errorf("got %d, want %d", got, want)
				}
			})
		}
	}
}

func TestWhatProcessesDoWrongCountsWhereTheyDid(t *testing.T) {
	for name, grows := range map[string]int64{"something went wrong": 1, "nothing went wrong": 0} {
		t.Run(name, func(t *testing.T) {
			n := nemesisOf(&run{})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var figure int64
			same := func(*activeFaults) {}
			n.forAWhile(ctx, dice(), "handlers", consumerRole, nil, func(stats) int64 { figure += grows; return figure }, same, same)
			if got := n.injected["handlers"]; int64(got) != grows {
				t.Errorf("got %d, want %d", got, grows)
			}
		})
	}
}
