package torture

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor/supervisortest"
	"github.com/waybill-go/waybill/store"
)

func TestMain(m *testing.M) { os.Exit(supervisortest.Main(m, RunRole)) }

func TestAShortRunKeepsAllPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	var out strings.Builder
	report, err := Run(t.Context(), supervisortest.Exec, &out, &Options{
		Duration: 6 * time.Second, Faults: []string{"all", "-clock"}, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !report.OK || report.Sent == 0 || report.Applied == 0 || len(report.Faults) < 3 {
		t.Errorf("got %+v, want messages, some faults and a good verdict\n%s", report, out.String())
	}
	if want := "All promises were kept."; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%swant %q in it", out.String(), want)
	}
}

func TestNothingIsLeftAtTheBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	at, err := supervisor.BrokerAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server, err := supervisor.StartBroker(t.Context(), at, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Shutdown() }()
	streams := streamNames(t, at)
	for _, x := range []struct {
		name string
		keep bool
		made int
	}{
		{"kept", true, 9}, // seven queues, the receipts' and a topic
		{"not kept", false, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := len(streams())
			var out strings.Builder
			report, err := Run(t.Context(), supervisortest.Exec, &out, &Options{
				Broker: at, Duration: time.Second, Seed: 1, Faults: []string{"none"}, Keep: x.keep, Dir: t.TempDir(),
			})
			if err != nil || !report.OK || report.LeftBehind != "" {
				t.Fatalf("got %v, %+v, want a good report\n%s", err, report, out.String())
			}
			if left := streams(); len(left) != before+x.made {
				t.Errorf("got the streams %q, want %d, and %d were there before", left, before+x.made, before)
			}
		})
	}
}

// streamNames returns a function that asks a NATS server for the names of its streams.
func streamNames(t *testing.T, at string) func() []string {
	t.Helper()
	client, err := natsgo.Connect(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	return func() (names []string) {
		list := js.StreamNames(t.Context())
		for name := range list.Name() {
			names = append(names, name)
		}
		if err := list.Err(); err != nil {
			t.Error(err)
		}
		return names
	}
}

func TestAnInterruptedRunLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	db := "sqlite:" + dir + "/user.db"
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out strings.Builder
	began := make(chan struct{})
	go func() {
		<-began
		interrupt()
	}()
	program := func() (*exec.Cmd, error) {
		select {
		case <-began:
		default:
			close(began)
		}
		return supervisortest.Exec()
	}
	_, err := Run(ctx, program, &out, &Options{Dir: dir + "/files", ProducerDB: db, Duration: time.Minute, Faults: []string{"kill"}})
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v, want ErrInterrupted", err)
	}
	d, err := openDatabase(db, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	noneLeft(t, d)
}

// noneLeft asks whether a run's tables are gone.
func noneLeft(t *testing.T, d *database) {
	t.Helper()
	n, err := d.number(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name LIKE 'torture%'`)
	if n != 0 || err != nil {
		t.Errorf("got %d tables that are left and the error %v, want none", n, err)
	}
}

func TestWhatIsWrongWithTheOptionsIsToldBeforeAnythingIsDone(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(full+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		o    Options
		want string
	}{
		{"a wrong fault", Options{Faults: []string{"earthquake"}}, "earthquake"},
		{"a full directory", Options{Dir: full}, "not empty"},
		{"too many transfers", Options{Transfers: MaxTransfers + 1}, "at most 1000"},
		{"faults without a rest", Options{Every: MinEvery - 1}, "at least 10ms"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, err := Run(t.Context(), nil, io.Discard, &x.o); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want an error with %q", err, x.want)
			}
		})
	}
}

func TestACommandThatStartsAServerIsTriedThreeTimes(t *testing.T) {
	t.Parallel()
	for name, succeeds := range map[string]bool{"succeeds at last": true, "always fails": false} {
		t.Run(name, func(t *testing.T) {
			tries := t.TempDir() + "/tries"
			condition := "false"
			if succeeds {
				condition = `[ $(wc -l < ` + tries + `) -eq 3 ]`
			}
			err := (&run{}).startHook(t.Context(), "echo try >> "+tries+"; "+condition)
			text, _ := os.ReadFile(tries)
			if n := strings.Count(string(text), "try"); (err == nil) != succeeds || n != 3 {
				t.Errorf("got %v after %d tries; want 3 tries, and success: %v", err, n, succeeds)
			}
		})
	}
}

func TestRoomIsMadeOnAServersDiskWhateverBecameOfFillingIt(t *testing.T) {
	t.Parallel()
	for fill, want := range map[string]int{"true": 1, "false": 0} {
		t.Run(fill, func(t *testing.T) {
			calls := t.TempDir() + "/calls"
			ctx, end := context.WithCancelCause(t.Context())
			n := &nemesis{run: &run{injected: map[string]int{}, fail: end}, claims: map[string]bool{}}
			fillCommand := "echo fill >> " + calls + "; " + fill
			freeCommand := "echo free >> " + calls
			n.fillServer(ctx, "disk", "a disk", fillCommand, freeCommand, time.Millisecond)
			text, _ := os.ReadFile(calls)
			if string(text) != "fill\nfree\n" {
				t.Errorf("got the calls %q, want fill and free", text)
			}
			if got := n.injected["disk"]; got != want {
				t.Errorf("got %d full disks, want %d", got, want)
			}
			if goesOn := ctx.Err() == nil; goesOn != (want == 1) {
				t.Errorf("got %v, want the run to go on: %v", context.Cause(ctx), want == 1)
			}
		})
	}
}

func TestTablesMayBeInASchema(t *testing.T) {
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		t.Run(string(side), func(t *testing.T) {
			d, err := openDatabase("sqlite:"+t.TempDir()+"/db", "main.torture_x_")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := d.create(t.Context(), side, true); err != nil {
				t.Error(err)
			}
			if err := d.drop(t.Context()); err != nil {
				t.Error(err)
			}
			noneLeft(t, d)
		})
	}
}
