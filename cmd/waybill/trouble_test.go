package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// closedPort is an address that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestMissingTablesNameInit(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	all := [][]string{
		{"status"}, {"list"}, {"send", "orders", "--body", "x"}, {"prune"},
		{"show", "01890a5d-ac96-774b-bcce-b302099a8057"}, {"resend", "01890a5d-ac96-774b-bcce-b302099a8057"},
		{"discard", "--yes", "01890a5d-ac96-774b-bcce-b302099a8057"}, {"relay"}, {"receive", "orders", "--consumer", "c"},
	}
	for _, args := range all {
		s.fails(1, "", args, "app.db does not exist", "waybill init")
	}
	if _, err := os.Stat(filepath.Join(s.dir, "app.db")); err == nil {
		t.Error("a command made the database file")
	}
	if err := os.WriteFile(filepath.Join(s.dir, "app.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range all {
		s.fails(1, "", args, "waybill init")
	}
	s.fails(1, "", []string{"init", "--db", "sqlite:no/such/dir/app.db"}, "no/such/dir does not exist")
}

func TestStatusWorksWithOneSidesTables(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.ok("", "init", "--db", "sqlite:p.db", "--side", "producer")
	s.ok("", "init", "--db", "sqlite:c.db", "--side", "consumer")
	if out := s.ok("", "status", "--db", "sqlite:p.db", "--over", "0"); !strings.Contains(out, "Pending") || !strings.Contains(out, "the consumer's tables are missing") {
		t.Errorf("the producer's status:\n%s", out)
	}
	if out := s.ok("", "status", "--db", "sqlite:c.db"); !strings.Contains(out, "the producer's tables are missing") {
		t.Errorf("the consumer's status:\n%s", out)
	}
}

func TestADatabaseThatIsAwayIsNamedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "mysql"} {
		addr := closedPort(t)
		s := newSetting(t, "WAYBILL_DB="+kind+"://app:s3cret@"+addr+"/app", "WAYBILL_BROKER=stomp://app:s3cret@"+closedPort(t))
		for _, args := range [][]string{
			{"status"}, {"send", "orders", "--body", "x"}, {"send", "orders"}, {"list"}, {"init"}, {"prune"},
			{"show", "01890a5d-ac96-774b-bcce-b302099a8057"},
		} {
			r := s.fails(1, "", args, "cannot connect to the database "+kind+"://app:xxxxx@"+addr+"/app", "refused")
			if strings.Contains(r.stdout+r.stderr, "s3cret") || strings.Count(strings.TrimSpace(r.stderr), "\n") > 0 {
				t.Errorf("%v: %s", args, r.stderr)
			}
		}
		for _, args := range [][]string{{"relay"}, {"receive", "orders", "--consumer", "c"}} {
			p := s.start(args...)
			p.says("refused")
			p.says("level=ERROR")
			p.stops()
			if text := p.stderr.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, kind+"://app:xxxxx@"+addr) {
				t.Errorf("%v: %s", args, text)
			}
		}
	}
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"stomp", "amqp1", "nats", "kafka"} {
		s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER="+scheme+"://app:s3cret@"+closedPort(t))
		s.ok("", "init")
		for _, args := range [][]string{{"relay"}, {"receive", "orders", "--consumer", "c"}} {
			p := s.start(args...)
			p.says("connecting again")
			p.stops()
			if text := p.stderr.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, scheme+"://app:xxxxx@") {
				t.Errorf("%s %v: %s", scheme, args, text)
			}
		}
	}
}

func TestAMalformedAddressDoesNotShowItsPassword(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"status", "--db", "postgres://app:s3cret%zz@host/d"},
		{"status", "--db", "mysql://app:s3cret@host"},
		{"relay", "--broker", "stomp://app:s3cret%zz@host"},
		{"relay", "--broker", "amqp1://app:s3cret@host/path"},
		{"relay", "--broker", "nats://app:s3cret@host:port"},
		{"relay", "--broker", "nats//app:s3cret@host"},
	} {
		s := newSetting(t, "WAYBILL_DB=sqlite:app.db")
		s.ok("", "init", "--db", "sqlite:app.db")
		if r := s.fails(2, "", args); strings.Contains(r.stdout+r.stderr, "s3cret") {
			t.Errorf("%v: %s", args, r.stderr)
		}
	}
}

func TestAnEmbeddedBrokerServesOneProcess(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	s.ok("", "init")
	p := s.start("relay")
	p.says("relay leads")
	s.fails(1, "", []string{"receive", "orders", "--consumer", "c"}, "in use by another embedded broker", "one process at a time")
	p.stops()
}

func TestTheHTTPAddressIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	s.ok("", "init")
	s.fails(1, "", []string{"relay", "--http", l.Addr().String()}, "address already in use")
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	s.ok("", "init")
	s.ok("", "send", "orders", "--body", "x")
	deliver(t, s)
	p := s.start("receive", "orders", "--consumer", "c", "--exec", "echo begun >&2; sleep 600")
	p.says("begun")
	p.signal(syscall.SIGTERM)
	// The first one lets the command go on, so the process still takes signals.
	eventually(t, "the second signal to end it", func() bool {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", p.cmd.ProcessState)
	}
}

func TestSIGTERMLetsACommandFinish(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	s.ok("", "init")
	s.ok("", "send", "orders", "--body", "x")
	deliver(t, s)
	p := s.start("receive", "orders", "--consumer", "c", "--exec", "echo begun >&2; while ! test -e go; do sleep 0.05; done; echo finished")
	p.says("begun")
	p.signal(syscall.SIGTERM)
	if err := os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status := p.ends(); status != 0 || p.stdout.String() != "finished\n" {
		t.Errorf("exit status %d, printed %q", status, p.stdout.String())
	}
	settle(t, s)
}

// deliver runs a relay until nothing waits for it, for brokers that serve one process.
func deliver(t *testing.T, s *setting) {
	t.Helper()
	p := s.start("relay", "--http", "127.0.0.1:0", "--min-resend", "10s")
	eventually(t, "the relay to publish", func() bool { return relayStats(p).Relay.Published >= pending(s) })
	p.stops()
}

// settle runs a relay until its outbox is empty, for brokers that serve one process.
func settle(t *testing.T, s *setting) {
	t.Helper()
	p := s.start("relay")
	eventually(t, "the outbox to be empty", func() bool { return pending(s) == 0 })
	p.stops()
}
