package main

import (
	"strings"
	"testing"
)

func TestWrongUsageIsExitStatus2(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	s.ok("", "init")
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
		{"receive orders --consumer c --broker nonsense", "begins with its kind"},
		{"receive orders --consumer c --broker mqtt://h", `no broker is called "mqtt"`},
		{"receive orders --consumer c --broker embedded:", "embedded"},
		{"relay --producer a,b", "Producer"},
		{"relay --window 0", "--window"},
		{"relay --batch -1", "--batch"},
		{"relay --min-resend 2m", "MinResend"},
		{"relay --transient orders --accepted orders", "Accepted needs Durable"},
		{"relay --broker stomp://", "host"},
		{"relay --http nonsense", "--http"},
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
		r := s.fails(2, "", strings.Fields(c.args), c.want, "--help' for usage.")
		if r.stdout != "" {
			t.Errorf("%q: printed on standard output: %s", c.args, r.stdout)
		}
	}
	bare := newSetting(t)
	bare.fails(2, "", []string{"status"}, "give --db or set WAYBILL_DB")
	bare.ok("", "init", "--db", "sqlite:app.db")
	bare.fails(2, "", []string{"relay", "--db", "sqlite:app.db"}, "give --broker or set WAYBILL_BROKER")
}

func TestEveryCommandHelps(t *testing.T) {
	t.Parallel()
	s := newSetting(t, "WAYBILL_DB=postgres://u:s3cret@h/d", "WAYBILL_BROKER=stomp://u:s3cret@h")
	root, _ := newRoot()
	commands := 0
	for _, c := range root.Commands() {
		if c.Hidden {
			continue
		}
		commands++
		out := s.ok("", c.Name(), "--help")
		if !strings.Contains(out, "Examples:\n  waybill "+c.Name()) && !strings.Contains(c.Example, "waybill "+c.Name()) {
			t.Errorf("%s --help has no example", c.Name())
		}
		if c.Long == "" || c.GroupID == "" {
			t.Errorf("%s has no long help or no group", c.Name())
		}
		if strings.Contains(out, "s3cret") {
			t.Errorf("%s --help shows a password", c.Name())
		}
		for _, flag := range []string{"--db", "--broker", "--prefix", "--log-level", "--log-format"} {
			if !strings.Contains(out, flag) {
				t.Errorf("%s --help lacks %s", c.Name(), flag)
			}
		}
	}
	if commands < 10 {
		t.Errorf("%d commands", commands)
	}
	if out := s.ok("", "--help"); !strings.Contains(out, "Exit status") || strings.Contains(out, "s3cret") {
		t.Errorf("--help: %s", out)
	}
	if out := s.ok("", "--version"); !strings.HasPrefix(out, "waybill ") || strings.Count(out, "\n") != 1 {
		t.Errorf("--version: %q", out)
	}
	if out := s.ok("", "completion", "bash"); !strings.Contains(out, "__start_waybill") {
		t.Error("completion bash prints no completion")
	}
	if out := s.ok("", "__complete", "receive", "orders", "--level", ""); !strings.Contains(out, "latest") {
		t.Errorf("--level completes to %q", out)
	}
}
