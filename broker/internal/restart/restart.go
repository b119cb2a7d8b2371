// Package restart lets a conformance test kill a server and start it again, where nobody
// else uses the servers.
package restart

import (
	"os"
	"os/exec"
	"testing"
)

// Variable is the environment variable with the path of a scripts/services whose servers
// nobody else uses, such as that of another checkout, started with WAYBILL_PORT_BASE=auto.
// Without it no test ends a server.
const Variable = "WAYBILL_TEST_SERVICES"

// Hooks are the fields of those names of a brokertest.Harness; all nil without Variable.
type Hooks struct{ Restart, Stop, Start func(t testing.TB) }

// Of returns the hooks for a server by its name in scripts/services.
func Of(server string) Hooks {
	services := os.Getenv(Variable)
	if services == "" {
		return Hooks{}
	}
	call := func(t testing.TB, command string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), services, command, server).CombinedOutput(); err != nil {
			t.Fatalf("%s %s %s: %v\n%s", services, command, server, err, out)
		}
	}
	return Hooks{
		Restart: func(t testing.TB) { call(t, "kill"); call(t, "start") },
		Stop:    func(t testing.TB) { call(t, "stop") },
		Start:   func(t testing.TB) { call(t, "start") },
	}
}
