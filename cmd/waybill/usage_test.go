package main

import (
	"strings"
	"testing"
)

func TestWrongUsageIsExitStatus2(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	for _, c := range []struct {
		args string
		want string
	}{
		{"", "no command given"},
		{"frobnicate", `unknown command "frobnicate"`},
		{"stats", "status"}, // a suggestion
		{"status --frobnicate", "unknown flag: --frobnicate"},
		{"status now", `status does not take the argument "now"`},
		{"status --db nonsense", "begins with its kind"},
		{"status --db oracle://h/d", `no database is called "oracle"`},
		{"status --db sqlite:", "the file's name is missing"},
		{"status --prefix DROP", "table prefix"},
		{"status --every 1ms", "--every"},
		{"status --over -1s", "--over"},
		{"status --log-level loud", "--log-level"},
		{"status --log-format xml", "--log-format"},
		{"init --side left", "--side"},
		{"init extra", "does not take"},
		{"send", "send needs DESTINATION"},
		{"send a b --body x", `does not take the argument "b"`},
		{"send ack.x --body x", "reserved for receipts"},
		{"send orders --body x --header novalue", "NAME=VALUE"},
		{"send orders --body x --header attempt=1", "reserved"},
		{"send orders --body x --header type=placed", `"x-type" is free`},
		{"send orders --body x --not-before soon", "--not-before"},
		{"send orders --body x --not-before -5s", "--not-before"},
		{"send orders --body x --json --quiet", "[json quiet]"},
		{"receive orders", `required flag(s) "consumer" not set`},
		{"receive --consumer c", "receive needs DESTINATION"},
		{"receive orders --consumer c --level best", "--level"},
		{"receive orders --consumer c --count 0", "--count"},
		{"receive orders --consumer c --count 3 --workers 2", "[count workers]"},
		{"receive orders --consumer c --exec cat --batch 2", "[exec batch]"},
		{"receive orders --consumer a,b", "--consumer"},
		{"receive orders --consumer c --timeout 0s", "--timeout"},
		{"receive orders --consumer c --retention 0s", "--retention"},
		{"receive orders --consumer c --foreign-retention 0s", "--foreign-retention"},
		{"receive orders --consumer c --broker nonsense", "begins with its kind"},
		{"receive orders --consumer c --broker mqtt://h", `no broker is called "mqtt"`},
		{"receive orders --consumer c --broker amqp://h", "use rabbitmq://"},
		{"relay --producer shop --broker amqps://h", "amqp1s://"},
		{"receive orders --consumer c --broker embedded:", "embedded"},
		{"relay", `required flag(s) "producer" not set`},
		{"relay --producer a,b", "Producer"},
		{"relay --producer shop --window 0", "--window"},
		{"relay --producer shop --batch -1", "--batch"},
		{"relay --producer shop --min-resend 2m", "MinResend"},
		{"relay --producer shop --transient orders --accepted orders", "Accepted needs Durable"},
		{"relay --producer shop --broker stomp://", "host"},
		{"relay --producer shop --http nonsense", "--http"},
		{"list --rejected --pending", "[pending rejected]"},
		{"list --limit -1", "--limit"},
		{"show", "show needs ID"},
		{"show 123", `"123" is no message id`},
		{"resend", "resend needs ID"},
		{"resend 1 2", "no message id"},
		{"discard", "discard needs ID"},
		{"discard 01890a5d-ac96-774b-bcce-b302099a8057", "use --yes"},
		{"prune --retention 0s", "--retention"},
		{"prune --retention long", "--retention"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := w.at(t).fails(2, "", strings.Fields(c.args), c.want, "--help' for usage.")
			if r.stdout != "" {
				t.Errorf("got %q on standard output, want nothing", r.stdout)
			}
		})
	}
	for args, want := range map[string][]string{
		"send ack.x --body x --key " + strings.Repeat("k", 256) + " --header novalue --header type=x --not-before soon": {"reserved for receipts", "--key", "NAME=VALUE", `"x-type" is free`, "--not-before"},
		"receive ack.x --consumer a,b --level best --workers 0 --batch 0 --breaker no":                                  {"reserved for receipts", "--consumer", "--level", "--workers", "--batch", "--breaker"},
		"relay --producer shop --window 0 --batch 0 --consumers x --per-second y --breaker z":                           {"--window", "--batch", "--consumers", "--per-second", "--breaker"},
	} {
		w.at(t).fails(2, "", strings.Fields(args), append(want, "--help' for usage.")...)
	}
	bare := newWorkspace(t)
	bare.fails(2, "", []string{"status"}, "give --db or set WAYBILL_DB")
	bare.ok("", "init", "--db", "sqlite:app.db")
	bare.fails(2, "", []string{"relay", "--producer", "shop", "--db", "sqlite:app.db"}, "give --broker or set WAYBILL_BROKER")
}

func TestEveryCommandHelps(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=postgres://u:s3cret@h/d", "WAYBILL_BROKER=stomp://u:s3cret@h")
	root, _ := newRoot()
	commands := 0
	for _, c := range root.Commands() {
		if c.Hidden {
			continue
		}
		commands++
		t.Run(c.Name(), func(t *testing.T) {
			out := w.at(t).ok("", c.Name(), "--help")
			if !strings.Contains(out, "Examples:\n  waybill "+c.Name()) && !strings.Contains(c.Example, "waybill "+c.Name()) {
				t.Errorf("got no example, want one of waybill %s:\n%s", c.Name(), out)
			}
			if c.Long == "" || c.GroupID == "" {
				t.Errorf("got the long help %q and the group %q, want both", c.Long, c.GroupID)
			}
			if strings.Contains(out, "s3cret") {
				t.Errorf("got a password, want none:\n%s", out)
			}
			for _, flag := range []string{"--db", "--broker", "--prefix", "--log-level", "--log-format"} {
				if !strings.Contains(out, flag) {
					t.Errorf("got a help without %s, want it there:\n%s", flag, out)
				}
			}
		})
	}
	if commands < 10 {
		t.Errorf("got %d commands, want 10 at least", commands)
	}
}

func TestTheCommandItselfHelps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"--help", "Exit status"},
		{"--version", "waybill "},
		{"completion bash", "__start_waybill"},
		{"__complete receive orders --level ", "latest"},
	} {
		t.Run(c.args, func(t *testing.T) {
			w := newWorkspace(t, "WAYBILL_DB=postgres://u:s3cret@h/d", "WAYBILL_BROKER=stomp://u:s3cret@h")
			out := w.ok("", strings.Split(c.args, " ")...)
			if !strings.Contains(out, c.want) || strings.Contains(out, "s3cret") {
				t.Errorf("got %q, want %q in it and no password", out, c.want)
			}
			if c.args == "--version" && (!strings.HasPrefix(out, c.want) || strings.Count(out, "\n") != 1) {
				t.Errorf("got %q, want one line that begins with %q", out, c.want)
			}
		})
	}
}

func TestAnAddressInAWrongPlaceShowsNoPassword(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	for _, addr := range []string{
		"postgres://user:hunter2@host/app", "postgres://user?hunter2@host/app", "mysql:user:hunter2@host/app", "nats://hunter2@host", "user:hunter2@tcp(host)/app",
	} {
		for _, args := range [][]string{
			{addr}, {"status", addr}, {"send", "orders", addr}, {"show", addr}, {"relay", "--producer", "shop", "--window", addr},
			{"status", "--prefix", addr}, {"status", "--db", "x" + addr}, {"relay", "--producer", "shop", "--broker", "x" + addr}, {"status", "--log-level", addr},
		} {
			r := w.at(t).run("", args...)
			if r.status == 0 || strings.Contains(r.stdout+r.stderr, "hunter2") {
				t.Errorf("%q: got exit status %d and the output %s%s, want an error without the password", args, r.status, r.stdout, r.stderr)
			}
		}
	}
}
