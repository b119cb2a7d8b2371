package torture

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/store"
)

// role is the variable that makes this test program a part of a run.
const role = "WAYBILL_TORTURE_TEST_PART"

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		if err := Part(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func testCommand() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd, nil
}

func TestAShortRunKeepsAllPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	var out strings.Builder
	report, err := Run(t.Context(), Options{
		Duration: 6 * time.Second, Faults: []string{"all", "-clock"}, Command: testCommand, Out: &out, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !report.OK || report.Sent == 0 || report.Applied == 0 || len(report.Faults) < 3 {
		t.Errorf("%+v\n%s", report, out.String())
	}
	if !strings.Contains(out.String(), "All promises were kept.") {
		t.Errorf("it said:\n%s", out.String())
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
	server, err := supervisor.StartBroker(t.Context(), at, t.TempDir(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Shutdown() }()
	client, err := natsgo.Connect(at)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	streams := func() (names []string) {
		list := js.StreamNames(t.Context())
		for name := range list.Name() {
			names = append(names, name)
		}
		if err := list.Err(); err != nil {
			t.Error(err)
		}
		return names
	}
	for _, keep := range []bool{true, false} {
		before := len(streams())
		var out strings.Builder
		report, err := Run(t.Context(), Options{
			Broker: at, Duration: time.Second, Seed: 1, Faults: []string{"none"}, Keep: keep, Command: testCommand, Out: &out, Dir: t.TempDir(),
		})
		if err != nil || !report.OK || report.LeftBehind != "" {
			t.Fatalf("%v, %+v\n%s", err, report, out.String())
		}
		made := 0
		if keep {
			made = 6 // four queues, the receipts' and a topic
		}
		if left := streams(); len(left) != before+made {
			t.Errorf("keep: %v: %d streams before, and now %q", keep, before, left)
		}
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
	_, err := Run(ctx, Options{
		Dir: dir + "/files", ProducerDB: db, Duration: time.Minute, Faults: []string{"kill"}, Out: &out,
		Command: func() (*exec.Cmd, error) {
			select {
			case <-began:
			default:
				close(began)
			}
			return testCommand()
		},
	})
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("%v", err)
	}
	b, err := openBooks(db, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n, err := b.number(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name LIKE 'torture%'`); n != 0 || err != nil {
		t.Errorf("%d tables are left, %v", n, err)
	}
}

func TestAWrongFaultOrFullDirectoryIsToldBeforeAnythingIsDone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Faults: []string{"earthquake"}}, {Dir: dir}} {
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "earthquake") && !strings.Contains(err.Error(), "not empty") {
			t.Errorf("%v", err)
		}
	}
}

func TestACommandThatStartsAServerIsTriedThreeTimes(t *testing.T) {
	t.Parallel()
	tries := t.TempDir() + "/tries"
	for _, x := range []struct {
		succeeds string // a shell condition
		want     bool
	}{
		{`[ $(wc -l < ` + tries + `) -eq 3 ]`, true},
		{`false`, false},
	} {
		if err := os.WriteFile(tries, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&run{}).startHook(t.Context(), "echo try >> "+tries+"; "+x.succeeds)
		text, _ := os.ReadFile(tries)
		if n := strings.Count(string(text), "try"); (err == nil) != x.want || n != 3 {
			t.Errorf("%s: %v after %d tries", x.succeeds, err, n)
		}
	}
}

func TestRoomIsMadeOnAServersDiskWhateverBecameOfFillingIt(t *testing.T) {
	t.Parallel()
	for _, fill := range []string{"true", "false"} {
		calls := t.TempDir() + "/calls"
		ctx, end := context.WithCancelCause(t.Context())
		s := &storm{run: &run{injected: map[string]int{}, fail: end}, claims: map[string]bool{}}
		s.o.BrokerFill = "echo fill >> " + calls + "; " + fill
		s.o.BrokerFree = "echo free >> " + calls
		s.fillServer(ctx, time.Millisecond)
		struck, want := s.injected["disk"], 0
		if fill == "true" {
			want = 1
		}
		text, _ := os.ReadFile(calls)
		if string(text) != "fill\nfree\n" || struck != want || (ctx.Err() == nil) != (want == 1) {
			t.Errorf("%s: called %q, counted %d, %v", fill, text, struck, context.Cause(ctx))
		}
	}
}

func TestTablesMayBeInASchema(t *testing.T) {
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		b, err := openBooks("sqlite:"+t.TempDir()+"/db", "main.torture_x_")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.make(t.Context(), side, true); err != nil {
			t.Error(err)
		}
		if err := b.drop(t.Context()); err != nil {
			t.Error(err)
		}
		if n, err := b.number(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name LIKE 'torture%'`); n != 0 || err != nil {
			t.Errorf("%d tables are left, %v", n, err)
		}
	}
}
