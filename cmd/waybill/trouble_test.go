package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

// closedPort is an address that unknownID listens on.
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
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	all := []string{
		"status", "list", "send orders --body x", "prune", "show " + unknownID, "resend " + unknownID, "discard --yes " + unknownID,
		"relay --producer shop", "receive orders --consumer c",
	}
	for _, args := range all {
		t.Run("no file: "+args, func(t *testing.T) {
			w.at(t).fails(1, "", strings.Fields(args), "app.db does not exist", "waybill init")
		})
	}
	if _, err := os.Stat(filepath.Join(w.dir, "app.db")); err == nil {
		t.Error("got a database file that a command has made, want none")
	}
	if err := os.WriteFile(filepath.Join(w.dir, "app.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range all {
		t.Run("no tables: "+args, func(t *testing.T) {
			w.at(t).fails(1, "", strings.Fields(args), "waybill init")
		})
	}
	w.fails(1, "", []string{"init", "--db", "sqlite:no/such/dir/app.db"}, "no/such/dir does not exist")
}

func TestStatusWorksWithOneSidesTables(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.ok("", "init", "--db", "sqlite:p.db", "--side", "producer")
	w.ok("", "init", "--db", "sqlite:c.db", "--side", "consumer")
	if out := w.ok("", "status", "--db", "sqlite:p.db", "--over", "0"); !strings.Contains(out, "Pending") || !strings.Contains(out, "the consumer's tables are missing") {
		t.Errorf("got the producer's status\n%swant the outbox, and that the consumer's tables are missing", out)
	}
	if out := w.ok("", "status", "--db", "sqlite:c.db"); !strings.Contains(out, "the producer's tables are missing") {
		t.Errorf("got the consumer's status\n%swant that the producer's tables are missing", out)
	}
}

func TestADatabaseThatIsAwayIsNamedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			addr := closedPort(t)
			w := newWorkspace(t, "WAYBILL_DB="+kind+"://app:s3cret@"+addr+"/app", "WAYBILL_BROKER=stomp://app:s3cret@"+closedPort(t))
			named := kind + "://app:xxxxx@" + addr + "/app"
			for _, args := range []string{"status", "send orders --body x", "send orders", "list", "init", "prune", "show " + unknownID} {
				t.Run(args, func(t *testing.T) {
					r := w.at(t).fails(1, "", strings.Fields(args), "cannot connect to the database "+named, "refused")
					if strings.Contains(r.stdout+r.stderr, "s3cret") || strings.Count(strings.TrimSpace(r.stderr), "\n") > 0 {
						t.Errorf("got %q, want one line and no password", r.stderr)
					}
				})
			}
			for _, args := range []string{"relay --producer shop", "receive orders --consumer c"} {
				t.Run(args, func(t *testing.T) {
					p := w.at(t).start(strings.Fields(args)...)
					p.says("refused")
					p.says("level=ERROR")
					p.stops()
					if text := p.stderr.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, kind+"://app:xxxxx@"+addr) {
						t.Errorf("got %q, want the address without its password", text)
					}
				})
			}
		})
	}
}

func TestADatabaseThatRefusesUsEndsTheProgram(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_MYSQL"} {
		t.Run(variable, func(t *testing.T) {
			u, err := url.Parse(testserver.Address(t, variable))
			if err != nil {
				t.Fatal(err)
			}
			wrong, missing := *u, *u
			wrong.User = url.UserPassword(u.User.Username(), "s3cret")
			missing.Path = "/no_such_database"
			for what, addr := range map[string]string{"a wrong password": wrong.String(), "a missing database": missing.String()} {
				for _, args := range []string{"relay --producer shop", "receive orders --consumer c"} {
					t.Run(what+": "+args, func(t *testing.T) {
						w := newWorkspace(t, "WAYBILL_DB="+addr, "WAYBILL_BROKER=stomp://app:pw@"+closedPort(t))
						if r := w.fails(1, "", strings.Fields(args), "read the tables' version"); strings.Contains(r.stdout+r.stderr, "s3cret") || strings.Contains(r.stderr, "trying again") {
							t.Errorf("got %q, want an end at once and no password", r.stderr)
						}
					})
				}
			}
		})
	}
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"stomp", "amqp1", "nats", "kafka"} {
		t.Run(scheme, func(t *testing.T) {
			w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER="+scheme+"://app:s3cret@"+closedPort(t))
			w.ok("", "init")
			for _, args := range []string{"relay --producer shop", "receive orders --consumer c"} {
				t.Run(args, func(t *testing.T) {
					p := w.at(t).start(strings.Fields(args)...)
					p.says("connecting again")
					p.stops()
					if text := p.stderr.String(); strings.Contains(text, "s3cret") || !strings.Contains(text, scheme+"://app:xxxxx@") {
						t.Errorf("got %q, want the address without its password", text)
					}
				})
			}
		})
	}
}

func TestAMalformedAddressDoesNotShowItsPassword(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"status --db postgres://app:s3cret%zz@host/d",
		"status --db mysql://app:s3cret@host",
		"relay --broker stomp://app:s3cret%zz@host",
		"relay --broker amqp1://app:s3cret@host/path",
		"relay --broker nats://app:s3cret@host:port",
		"relay --broker nats//app:s3cret@host",
	} {
		t.Run(args, func(t *testing.T) {
			w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
			w.ok("", "init", "--db", "sqlite:app.db")
			if r := w.fails(2, "", strings.Fields(args)); strings.Contains(r.stdout+r.stderr, "s3cret") {
				t.Errorf("got %q, want no password", r.stdout+r.stderr)
			}
		})
	}
}

func TestAnEmbeddedBrokerServesOneProcess(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	p := w.start("relay", "--producer", "shop")
	p.says("relay leads")
	w.fails(1, "", []string{"receive", "orders", "--consumer", "c"}, "in use by another embedded broker", "one process at a time")
	p.stops()
}

func TestTheHTTPAddressIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	w.fails(1, "", []string{"relay", "--producer", "shop", "--http", l.Addr().String()}, "address already in use")
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "x")
	p := w.start("receive", "orders", "--consumer", "c", "--exec", "echo begun >&2; sleep 600")
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
		t.Errorf("got an end with %v, want by SIGTERM", p.cmd.ProcessState)
	}
}

// As timeout(1) does it, to the process and then to its group.
func TestASignalThatComesTwiceAtOnceIsOne(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	p := w.start("relay", "--producer", "shop")
	p.says("relay leads")
	p.signal(syscall.SIGTERM)
	p.stops()
}

func TestSIGTERMLetsACommandFinish(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "x")
	p := w.start("receive", "orders", "--consumer", "c", "--exec", "echo begun >&2; while ! test -e go; do sleep 0.05; done; echo finished")
	p.says("begun")
	p.signal(syscall.SIGTERM)
	if err := os.WriteFile(filepath.Join(w.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status := p.ends(); status != 0 || p.stdout.String() != "finished\n" {
		t.Errorf("got exit status %d and %q, want 0 and all of its output", status, p.stdout.String())
	}
	settle(t, w)
}

// deliver runs a relay until nothing waits for it, for brokers that serve one process.
func deliver(t *testing.T, w *workspace) {
	t.Helper()
	p := w.start("relay", "--producer", "shop", "--http", "127.0.0.1:0", "--min-resend", "10s")
	eventually(t, "the relay to publish", func() bool { return relayStats(p).Relay.Published >= pending(w) })
	p.stops()
}

// settle runs a relay until its outbox is empty, for brokers that serve one process.
func settle(t *testing.T, w *workspace) {
	t.Helper()
	p := w.start("relay", "--producer", "shop")
	eventually(t, "the outbox to be empty", func() bool { return pending(w) == 0 })
	p.stops()
}
