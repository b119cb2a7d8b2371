package nats

import (
	"runtime"
	"testing"
	"weak"

	natsgo "github.com/nats-io/nats.go"
)

func TestWhatReceiveHasReturnedIsNotKept(t *testing.T) {
	r := &receiver{c: &conn{}, p: &place{name: "orders"}, arrived: make(chan struct{}, 1), done: make(chan struct{})}
	var messages []weak.Pointer[natsgo.Msg]
	for range 10 {
		m := &natsgo.Msg{Reply: "$JS.ACK.orders.group.1.1.1.1.0", Data: make([]byte, 100)}
		messages = append(messages, weak.Make(m))
		r.buffer = append(r.buffer, &held{r: r, msg: m})
	}
	for range 3 {
		if deliveries, err := r.Receive(t.Context(), 3); err != nil || len(deliveries) != 3 {
			t.Fatalf("got %d messages and %v, want 3", len(deliveries), err)
		}
	}
	runtime.GC()
	for i, m := range messages {
		if inMemory, isLeft := m.Value() != nil, i == 9; inMemory != isLeft {
			t.Errorf("message %d is in memory: %v, want %v", i, inMemory, isLeft)
		}
	}
	runtime.KeepAlive(r)
}
