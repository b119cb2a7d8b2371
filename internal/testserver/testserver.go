// Package testserver tells tests where the real servers are.
package testserver

import (
	"os"
	"strings"
	"testing"
)

// Required is the variable that turns a missing server from a skip into a failure:
// "make test" and CI set it to 1.
const Required = "WAYBILL_TEST_REQUIRE"

// service is the name by which scripts/services knows the variable's server.
func service(variable string) string {
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
	name := service(variable)
	const how = "%s is not set: no %s server. To run this test: scripts/services start %s && eval \"$(scripts/services env)\""
	if os.Getenv(Required) == "1" {
		t.Fatalf(how, variable, name, name)
	}
	t.Skipf(how, variable, name, name)
	return ""
}
