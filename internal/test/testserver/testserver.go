// Package testserver tells tests where the real servers are.
package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Required is the variable that turns a missing server from a skip into a failure:
// "make test" and CI set it to 1.
const Required = "WAYBILL_TEST_REQUIRE"

// Version returns what the server of such a variable says it is, such as
// "ActiveMQ 5.18.3", as "scripts/services env" tells it; "" where that is not known, as of
// a server that something else has started.
func Version(variable string) string {
	return os.Getenv("WAYBILL_TEST_" + strings.ToUpper(Service(variable)) + "_VERSION")
}

// Service is the name by which scripts/services knows the variable's server.
func Service(variable string) string {
	name, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(variable, "WAYBILL_TEST_")), "_")
	return name
}

// Address returns the address in the environment variable, such as
// WAYBILL_TEST_POSTGRES or WAYBILL_TEST_ACTIVEMQ_STOMP. Where it is not set the
// test is skipped with the command that starts the server, or fails where servers
// are required.
func Address(t testing.TB, variable string) string {
	t.Helper()
	if address := os.Getenv(variable); address != "" {
		return address
	}
	name := Service(variable)
	missing(t, "%s is not set: no %s server. To run this test: scripts/services start %s && eval \"$(scripts/services env)\"", variable, name, name)
	return ""
}

// Startable ends a test that starts a server of its own with scripts/services, in order to
// kill it, unless that script runs the variable's server, too: then the script can start
// another one. A server of compose.yaml tells nothing of that: there the script may have
// neither the packages nor the right to install them. Where servers are required the test
// goes on, and fails if it cannot start one.
func Startable(t testing.TB, variable string) {
	t.Helper()
	Address(t, variable)
	if Version(variable) != "" || os.Getenv(Required) == "1" {
		return
	}
	name := Service(variable)
	t.Skipf("%s is no server that scripts/services has started (but one of compose.yaml, perhaps), and this test starts and kills one of its own with that script. To run this test: scripts/services start %s && eval \"$(scripts/services env)\"; or set %s=1", variable, name, Required)
}

// Program returns the path of a server's program, for tests that start servers of
// their own. Where it is not installed, they are skipped or fail as by Address.
func Program(t testing.TB, program, service string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	// Debian installs servers where only root's path leads.
	if path, err := exec.LookPath("/usr/sbin/" + program); err == nil {
		return path
	}
	missing(t, "%s is not installed. To run this test: scripts/services install %s", program, service)
	return ""
}

// missing ends a test whose server is missing.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(Required) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Foreign returns the directory in which scripts/foreign keeps what it installs under a name,
// such as python. Where that is missing, or made of older sources, the test is skipped or
// fails as by Address. root is the way to the repository's root.
func Foreign(t testing.TB, root, name string) string {
	t.Helper()
	output, err := exec.Command(filepath.Join(root, "scripts", "foreign"), "path", name).Output()
	if err != nil {
		missing(t, "%s of scripts/foreign is not installed, or made of other sources. To run this test: scripts/foreign install %s", name, name)
	}
	return strings.TrimSpace(string(output))
}
