// Package arrival keeps what a client library has handed over of a subscription until
// Receive returns it, and knows why the subscription has ended.
package arrival

import (
	"context"
	"slices"
	"sync"

	"github.com/waybill-go/waybill/broker"
)

// Conn is what a Buffer needs of the connection that its subscription is on.
type Conn interface {
	Done() <-chan struct{}
	Err() error
}

// Buffer holds the messages of one subscription that have arrived. Its methods are safe
// for concurrent use; Receive is for one goroutine at a time.
type Buffer struct {
	conn    Conn
	arrived chan struct{} // has room for one: something has arrived
	done    chan struct{} // closed when err is set

	mu         sync.Mutex
	err        error
	deliveries []broker.Delivery
}

// NewBuffer returns an empty buffer of a subscription on a connection.
func NewBuffer(conn Conn) *Buffer {
	return &Buffer{conn: conn, arrived: make(chan struct{}, 1), done: make(chan struct{})}
}

// Add adds messages, unless the subscription has ended. It does not wait.
func (b *Buffer) Add(deliveries ...broker.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.deliveries = append(b.deliveries, deliveries...)
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// Receive waits for messages and returns what has arrived, at most limit; see
// broker.Receiver.
func (b *Buffer) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		if err := b.Err(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if deliveries := b.take(max(limit, 1)); len(deliveries) > 0 {
			return deliveries, nil
		}
		select {
		case <-b.arrived:
		case <-ctx.Done():
		case <-b.done:
		case <-b.conn.Done():
		}
	}
}

// take removes up to limit messages and returns them.
func (b *Buffer) take(limit int) (taken []broker.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.deliveries) <= limit {
		taken, b.deliveries = b.deliveries, nil
		return taken
	}
	taken = make([]broker.Delivery, limit)
	copy(taken, b.deliveries)
	rest := copy(b.deliveries, b.deliveries[limit:])
	clear(b.deliveries[rest:])
	b.deliveries = b.deliveries[:rest]
	return taken
}

// Drop removes the messages that match.
func (b *Buffer) Drop(match func(d broker.Delivery) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliveries = slices.DeleteFunc(b.deliveries, match)
}

// End ends the subscription for the reason err; the first call counts.
func (b *Buffer) End(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.deliveries = nil
		close(b.done)
	}
}

// Done is closed by End. The end of the connection does not close it.
func (b *Buffer) Done() <-chan struct{} { return b.done }

// Err is why the subscription, or else its connection, has ended; nil before.
func (b *Buffer) Err() error {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.conn.Err()
}
