package waybilltest

import (
	"context"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
)

// lossy is a broker that loses, and repeats, as many messages as it is told to.
type lossy struct {
	*memory.Broker

	mu       sync.Mutex
	receipts toll
	messages toll
}

// toll is what is still to be done to the next messages of a kind.
type toll struct{ lose, repeat int }

// take says how many copies of the next message are kept.
func (x *toll) take() int {
	switch {
	case x.lose > 0:
		x.lose--
		return 0
	case x.repeat > 0:
		x.repeat--
		return 2
	}
	return 1
}

func (w *lossy) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// awayTime is how long a broker that is away lets those wait who would connect, as a machine
// that is off does; less than relay and inbox wait for an answer. So there are fewer tries in a
// day.
const awayTime = 25 * time.Second

// Connect implements broker.Broker.
func (w *lossy) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := w.Broker.Connect(ctx)
	if err != nil {
		select {
		case <-time.After(awayTime):
		case <-ctx.Done():
		}
		return nil, err
	}
	return &lossyConn{conn, w}, nil
}

type lossyConn struct {
	broker.Conn
	w *lossy
}

// Publish confirms what is lost, as a broker does that loses it later.
func (c *lossyConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	var kept []broker.Message
	var of []int // the message of each one that is kept
	c.w.set(func() {
		for i := range messages {
			x := &c.w.messages
			if memory.Receipts(messages[i].Destination) {
				x = &c.w.receipts
			}
			results[i].Fate = broker.Confirmed
			for range x.take() {
				kept = append(kept, messages[i])
				of = append(of, i)
			}
		}
	})
	if len(kept) == 0 {
		return results, nil
	}
	fates, err := c.Conn.Publish(ctx, kept, transport)
	for i, fate := range fates {
		results[of[i]] = fate
	}
	return results, err
}
