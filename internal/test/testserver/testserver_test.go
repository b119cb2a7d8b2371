package testserver_test

import (
	"testing"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

func TestAServerIsStartableWhereTheScriptRunsOne(t *testing.T) {
	const address, version = "rabbitmq://127.0.0.1:5672", "RabbitMQ 3.10.8"
	for _, c := range []struct {
		what                       string
		address, version, required string
		skipped                    bool
	}{
		{what: "no server", skipped: true},
		{what: "a server of the script", address: address, version: version},
		{what: "a server of something else", address: address, skipped: true},
		{what: "a server of something else, and servers are required", address: address, required: "1"},
		{what: "a server of the script, and servers are required", address: address, version: version, required: "1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Setenv("WAYBILL_TEST_RABBITMQ", c.address)
			t.Setenv("WAYBILL_TEST_RABBITMQ_VERSION", c.version)
			t.Setenv(testserver.Required, c.required)
			skipped := true
			t.Run("test", func(t *testing.T) {
				testserver.Startable(t, "WAYBILL_TEST_RABBITMQ")
				skipped = false
			})
			if skipped != c.skipped {
				t.Errorf("skipped: got %t, want %t", skipped, c.skipped)
			}
		})
	}
}
