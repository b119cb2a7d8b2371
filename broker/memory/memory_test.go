package memory_test

import (
	"runtime"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string]*memory.Options{
		"in-process":                          nil,
		"in-process, with a greatest message": {MaxMessage: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			b := memory.New(options)
			brokertest.Test(t, brokertest.Harness{
				Server: name,
				Quiet:  50 * time.Millisecond,
				Open:   func(testing.TB) broker.Broker { return b },
				OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
					return b, brokertest.Link{Cut: b.Break, Hold: b.Hold, Release: b.Release}
				},
				Restart: func(testing.TB) { b.Down(); b.Up() },
				Stop:    func(testing.TB) { b.Down() },
				Start:   func(testing.TB) { b.Up() },
			})
		})
	}
}

func TestAMessageThatIsHeldKeepsNoOthersOfItsBatch(t *testing.T) {
	const n, size = 64, 256 << 10
	b := memory.New(nil)
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := conn.Subscribe(t.Context(), broker.Subscription{Destination: "orders", Prefetch: n})
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		var now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&now)
		return now.HeapAlloc
	}
	before := inUse()
	func() {
		messages := make([]broker.Message, n)
		for i := range messages {
			messages[i] = broker.Message{Destination: "orders", Body: make([]byte, size)}
		}
		if _, err := conn.Publish(t.Context(), messages, waybill.Durable); err != nil {
			t.Fatal(err)
		}
		for settled := 0; settled < n-1; {
			deliveries, err := receiver.Receive(t.Context(), n-1-settled)
			if err != nil {
				t.Fatal(err)
			}
			if err := receiver.Settle(t.Context(), deliveries, broker.Ack); err != nil {
				t.Fatal(err)
			}
			settled += len(deliveries)
		}
	}()
	if more := int64(inUse()) - int64(before); more > n*size/4 {
		t.Errorf("%d bytes are in use for one message of %d", more, size)
	}
	if left := b.Depth("orders"); left != 1 {
		t.Errorf("%d messages are left, want one", left)
	}
	runtime.KeepAlive(conn)
}
