package rabbitmq

import (
	"bytes"
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

const (
	// maxOutlets bounds the batches that are published at a time.
	maxOutlets = 16
	// windowMessages and windowBytes bound what a batch has under way. Beyond some
	// hundred messages a larger window saves nothing.
	windowMessages = 1000
	windowBytes    = 4 << 20
	// alone is the size in bytes from which a message travels alone: the broker may
	// take it for too large and end the channel, with what else is under way there.
	alone = 4 << 20
)

// outlet is a channel that publishes with confirmations. One batch at a time uses
// it, so that whatever happens on it happened to that batch.
type outlet struct {
	ch *amqp.Channel
	// returns brings the messages that found no queue, each before its confirmation.
	// It has room for all that can be under way: the library's reader must not wait.
	returns chan amqp.Return
	closes  chan *amqp.Error
}

func newOutlet(l *link) (*outlet, error) {
	ch, err := l.amqp.Channel()
	if err != nil {
		return nil, err
	}
	o := &outlet{
		ch:      ch,
		returns: ch.NotifyReturn(make(chan amqp.Return, windowMessages)),
		closes:  ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return o, nil
}

// outlet returns a channel that nobody else uses.
func (c *Conn) outlet(ctx context.Context) (*outlet, error) {
	select {
	case o := <-c.idle:
		if !o.ch.IsClosed() {
			return o, nil
		}
		c.fresh <- struct{}{}
	default:
	}
	ctx, cancel := c.publisher.unblocked(ctx)
	defer cancel()
	select {
	case o := <-c.idle:
		return o, nil
	case <-c.fresh:
		return within(ctx, c, func() (*outlet, error) {
			o, err := newOutlet(c.publisher)
			if err != nil {
				c.fresh <- struct{}{}
			}
			return o, err
		}, c.release)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
}

// release gives back a channel on which nothing is under way.
func (c *Conn) release(o *outlet) { c.idle <- o }

// discard closes a channel, without waiting for it.
func (c *Conn) discard(o *outlet) {
	c.start(func() {
		o.ch.Close()
		c.fresh <- struct{}{}
	})
}

// ended is the broker's reason for having ended the channel.
func (o *outlet) ended() error {
	if err := <-o.closes; err != nil {
		return err
	}
	return amqp.ErrClosed
}

// returned finds the messages of which the broker has said, until now, that they
// have no queue. Returns come in the order of publishing and do not name their
// message; of two that are alike in everything it does not matter which is meant.
func (p *publication) returned(o *outlet, under []int) {
	for {
		var r amqp.Return
		var ok bool
		select {
		case r, ok = <-o.returns:
		default:
		}
		if !ok {
			return
		}
		for n, i := range under {
			if p.results[i].Err == nil && p.means(&r, i) {
				p.results[i].Err = fmt.Errorf("rabbitmq: there is no queue for %q: %s", p.messages[i].Destination, r.ReplyText)
				under = under[n+1:]
				break
			}
		}
	}
}

// means says whether a return is of the message at position i.
func (p *publication) means(r *amqp.Return, i int) bool {
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

// unroutable turns the message at position i, which the broker has returned, into a
// refusal. The queue is made again with the next message to it.
func (p *publication) unroutable(i int) {
	p.results[i].Fate = broker.Refused
	p.conn.undeclare(p.routes[i])
}
