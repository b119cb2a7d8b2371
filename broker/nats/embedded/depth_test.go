package embedded_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// port returns a loopback address with a port that is free.
func port(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestDepthsCountWhatIsNotSettled(t *testing.T) {
	b := start(t, embedded.Options{})
	c, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	batch := []broker.Message{{Destination: "orders"}, {Destination: "orders"}, {Destination: "ack.shop"}}
	if _, err := c.Publish(t.Context(), batch, waybill.Durable); err != nil {
		t.Fatal(err)
	}
	r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "orders", Prefetch: 2})
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := r.Receive(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want map[string]int) {
		t.Helper()
		var got map[string]int
		// JetStream does not answer an acknowledgement.
		patience.Until(t, fmt.Sprintf("depths of %v", want), func() bool {
			if got, err = b.Depths(); err != nil {
				t.Fatal(err)
			}
			return maps.Equal(got, want)
		}, func() any { return got })
	}
	expect(map[string]int{"orders": 2, "ack.shop": 1})
	if err := r.Settle(t.Context(), deliveries, broker.Ack); err != nil {
		t.Fatal(err)
	}
	expect(map[string]int{"orders": 1, "ack.shop": 1})
	b.Kill()
	if _, err := b.Depths(); !errors.Is(err, embedded.ErrStopped) {
		t.Errorf("Depths of a stopped broker: %v, want ErrStopped", err)
	}
}

func TestClientsFromOutsideNeedThePassword(t *testing.T) {
	address := port(t)
	b := start(t, embedded.Options{Listen: address, User: "demo", Password: "open-sesame"})
	within, err := b.Connect(t.Context())
	if err != nil {
		t.Fatalf("Connect within the process: %v", err)
	}
	defer within.Close(t.Context())
	for login, refused := range map[string]bool{"": true, "demo:wrong@": true, "demo:open-sesame@": false} {
		t.Run("as "+login, func(t *testing.T) {
			outside, err := nats.New("nats://"+login+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := outside.Connect(t.Context())
			if refused != errors.Is(err, broker.ErrRefused) || !refused && err != nil {
				t.Errorf("Connect: %v; want refused: %v", err, refused)
			}
			if err == nil {
				_ = c.Close(t.Context())
			}
		})
	}
}
