package rabbitmq

import (
	"bytes"
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

const (
	// maxPublisherChannels bounds the batches that are published at a time.
	maxPublisherChannels = 16
	// windowMessages and windowBytes bound what a batch has under way. A window of more
	// than a few hundred messages saves no more time.
	windowMessages = 1000
	windowBytes    = 4 << 20
	// aloneBytes is the size of a body from which on a message travels alone: the broker
	// may take it for too large and end the channel, with all else that is under way there.
	aloneBytes = 4 << 20
)

// publisherChannel is a channel that publishes with confirmations. One batch at a time
// uses it, so whatever happens on it happened to that batch.
type publisherChannel struct {
	ch *amqp.Channel
	// returns brings the messages that found no queue, each before its confirmation. It
	// has room for all that can be under way: the library's reader must not wait.
	returns chan amqp.Return
	closes  chan *amqp.Error
}

func newPublisherChannel(s *socket) (*publisherChannel, error) {
	ch, err := s.amqp.Channel()
	if err != nil {
		return nil, err
	}
	c := &publisherChannel{
		ch:      ch,
		returns: ch.NotifyReturn(make(chan amqp.Return, windowMessages)),
		closes:  ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return c, nil
}

// publisherChannel returns a channel that nobody else uses, until release or discard.
func (c *conn) publisherChannel(ctx context.Context) (*publisherChannel, error) {
	select {
	case ch := <-c.idle:
		if !ch.ch.IsClosed() {
			return ch, nil
		}
		c.fresh <- struct{}{}
	default:
	}
	ctx, cancel := c.publisher.unblocked(ctx)
	defer cancel()
	select {
	case ch := <-c.idle:
		return ch, nil
	case <-c.fresh:
		return within(ctx, c, func() (*publisherChannel, error) {
			ch, err := newPublisherChannel(c.publisher)
			if err != nil {
				c.fresh <- struct{}{}
			}
			return ch, err
		}, c.release)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
}

// release gives back a channel on which nothing is under way.
func (c *conn) release(ch *publisherChannel) { c.idle <- ch }

// discard closes a channel, without waiting for it.
func (c *conn) discard(ch *publisherChannel) {
	c.start(func() {
		ch.ch.Close()
		c.fresh <- struct{}{}
	})
}

// ended is the broker's reason for having ended the channel.
func (c *publisherChannel) ended() error {
	if err := <-c.closes; err != nil {
		return err
	}
	return amqp.ErrClosed
}

// returned finds, among the messages under way, those that the broker has returned so far
// since they have no queue. Returns come in the order of publishing and do not name their
// message; of two messages that are alike it does not matter which is meant.
func (p *publication) returned(ch *publisherChannel, under []int) {
	for {
		var r amqp.Return
		var ok bool
		select {
		case r, ok = <-ch.returns:
		default:
		}
		if !ok {
			return
		}
		for n, i := range under {
			if p.results[i].Err == nil && p.matches(&r, i) {
				p.results[i].Err = fmt.Errorf("rabbitmq: %w for %q: %s", broker.ErrNoQueue, p.messages[i].Destination, r.ReplyText)
				under = under[n+1:]
				break
			}
		}
	}
}

// matches reports whether a return may be of the message at position i.
func (p *publication) matches(r *amqp.Return, i int) bool {
	m := &p.messages[i]
	to := p.routes[i]
	if r.RoutingKey != to.key || r.Exchange != to.exchange || len(r.Headers) != len(m.Headers) || !bytes.Equal(r.Body, m.Body) {
		return false
	}
	for k := range m.Headers {
		if r.Headers[m.Headers[k].Name] != m.Headers[k].Value {
			return false
		}
	}
	return true
}

// unroutable makes the message at position i, which the broker has returned, Refused. The
// queue is made again with the next message to it.
func (p *publication) unroutable(i int) {
	p.results[i].Fate = broker.Refused
	p.conn.undeclare(p.routes[i])
}
