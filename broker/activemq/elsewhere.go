package activemq

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// Some messages can be read, or settled, over one protocol alone: STOMP shows no MapMessage of
// JMS, and takes no acknowledgement of what came by AMQP with an id. Where one arrives, its
// subscription ends before anybody has it, and the next one of the destination is over AMQP.

// elsewhere are the destinations that are received over AMQP although the connection speaks
// STOMP. It outlives connections.
type elsewhere struct {
	mu     sync.Mutex
	places map[place]bool
}

type place struct {
	destination string
	topic       bool
}

func placeOf(s *broker.Subscription) place { return place{s.Destination, s.Topic} }

func (e *elsewhere) has(p place) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.places[p]
}

func (e *elsewhere) add(p place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.places == nil {
		e.places = map[place]bool{}
	}
	e.places[p] = true
}

// second is a connection over AMQP beside one over STOMP, opened when it is needed.
type second struct {
	mu     sync.Mutex
	conn   broker.Conn // nil while there is none
	closed bool
}

// open returns the second connection. One that has ended is opened anew.
func (s *second) open(ctx context.Context, b broker.Broker) (broker.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, broker.ErrClosed
	}
	if s.conn != nil {
		select {
		case <-s.conn.Done():
			_ = s.conn.Close(ctx)
			s.conn = nil
		default:
			return s.conn, nil
		}
	}
	c, err := b.Connect(ctx)
	if err == nil {
		s.conn = c
	}
	return c, err
}

// close closes the second connection, where there is one.
func (s *second) close(ctx context.Context) error {
	s.mu.Lock()
	c := s.conn
	s.conn, s.closed = nil, true
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Close(ctx)
}

// subscribe subscribes over AMQP where the destination needs that. mayMove says that it is over
// STOMP and may go over to AMQP. Where AMQP does not answer it stays with STOMP, which hands
// over what it cannot read as a problem.
func (c *conn) subscribe(ctx context.Context, s broker.Subscription) (r broker.Receiver, mayMove bool, err error) {
	if jmsbroker.Speaks(c.Conn) != jmsbroker.STOMP {
		r, err = c.Conn.Subscribe(ctx, s)
		return r, false, err
	}
	mayMove = true
	if c.broker.elsewhere.has(placeOf(&s)) {
		other, err := c.second.open(ctx, c.broker.amqp)
		if err == nil {
			r, err = other.Subscribe(ctx, s)
			return r, false, err
		}
		if ctx.Err() != nil {
			return nil, false, err
		}
		mayMove = false
	}
	r, err = c.Conn.Subscribe(ctx, s)
	return r, mayMove, err
}

// Receive waits for messages; see broker.Receiver.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	deliveries, err := r.Receiver.Receive(ctx, limit)
	if !r.mayMove {
		return deliveries, err
	}
	for i := range deliveries {
		if errors.Is(deliveries[i].Problem, jmsbroker.ErrElsewhere) {
			deliveries, err = nil, deliveries[i].Problem
			break
		}
	}
	if errors.Is(err, jmsbroker.ErrElsewhere) {
		r.elsewhere.add(r.place)
		err = fmt.Errorf("activemq: %q is received over AMQP from now on: %w", r.place.destination, err)
	}
	return deliveries, err
}
