package embedded_test

import (
	"os"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/nats/embedded"
)

// start starts a server in a directory of the test's own.
func start(t testing.TB, options embedded.Options) *embedded.Broker {
	t.Helper()
	options.AckWait = 2 * time.Second
	b, err := embedded.New(t.TempDir(), &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Shutdown() })
	return b
}

func TestConformance(t *testing.T) {
	b := start(t, embedded.Options{})
	brokertest.Test(t, brokertest.Harness{
		Open: func(testing.TB) broker.Broker { return b },
		OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
			return b, brokertest.Link{Cut: b.Break}
		},
		Restart: func(t testing.TB) {
			b.Kill()
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		},
		Stop: func(t testing.TB) { b.Kill() },
		Start: func(t testing.TB) {
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		},
		Goroutines: []string{"nats-server/v2/"},
	})
}

func BenchmarkEmbedded(b *testing.B) {
	for name, options := range map[string]embedded.Options{"by default": {}, "syncing always": {SyncAlways: true}} {
		b.Run(name, func(b *testing.B) {
			e := start(b, options)
			brokertest.Benchmark(b, brokertest.Harness{Open: func(testing.TB) broker.Broker { return e }})
		})
	}
}

var _ = os.Getpid
