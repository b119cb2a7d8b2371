package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Publish sends the messages with as many confirmations outstanding as a window
// allows. See broker.Conn.
//
// RabbitMQ ends the channel over a message that it does not take, and forgets about
// the others on it: those are sent again, on a new one. Where it begins to block
// publishers in the middle, and goes on for longer than a second, it has stopped
// reading, and there is nothing to wait for: what is under way is Unknown then. Up
// to sixteen batches are published at a time; more wait for their turn.
func (c *Conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{
		conn: c, messages: messages, transport: transport,
		results: make([]broker.Result, len(messages)), routes: make([]route, len(messages)),
	}
	work := p.prepare(ctx)
	for len(work) > 0 {
		work = p.send(ctx, work)
	}
	dead := false
	for i := range p.results {
		if p.results[i].Fate == broker.Unknown {
			dead = true
			if p.results[i].Err == nil {
				p.results[i].Err = errUnknown
			}
		}
	}
	if err := c.Err(); err != nil && (dead || len(messages) == 0) {
		return p.results, fmt.Errorf("rabbitmq: publish: %w", err)
	}
	return p.results, nil
}

// publication is one call of Publish.
type publication struct {
	conn      *Conn
	messages  []broker.Message
	transport waybill.Transport
	routes    []route
	results   []broker.Result
	single    bool // one message at a time, to learn which one the broker does not take
}

// fate sets the results of the messages at these positions.
func (p *publication) fate(which []int, fate broker.Fate, err error) {
	for _, i := range which {
		p.results[i] = broker.Result{Fate: fate, Err: err}
	}
}

// prepare finds out where each message goes, makes what does not exist, and returns
// the positions of the messages that can be sent.
func (p *publication) prepare(ctx context.Context) []int {
	work := make([]int, 0, len(p.messages))
	l := p.conn.publisher
	frame := l.amqp.Config.FrameSize
	_, blocked := l.blockade() // it holds up declarations too
	var problem error          // of the route before
	for i := range p.messages {
		m := &p.messages[i]
		if err := p.conn.broker.check(m, frame); err != nil {
			p.results[i] = broker.Result{Fate: broker.Unacceptable, Err: err}
			continue
		}
		p.routes[i] = routeTo(m.Destination, m.Topic)
		if blocked != nil && ctx.Err() == nil {
			p.results[i] = broker.Result{Fate: broker.Refused, Err: blocked}
			continue
		}
		if len(work) == 0 || p.routes[work[len(work)-1]] != p.routes[i] {
			problem = ctx.Err()
			if problem == nil {
				problem = p.conn.ensure(ctx, p.routes[i])
			}
		}
		if problem == nil {
			work = append(work, i)
			continue
		}
		p.fate([]int{i}, fateBefore(problem), problem)
	}
	return work
}

// fateBefore is the fate of a message that could not be sent because of err.
func fateBefore(err error) broker.Fate {
	var blocked *blockedError
	if saidByBroker(err) || errors.As(err, &blocked) {
		return broker.Refused
	}
	return broker.Unknown
}

// send publishes the messages at these positions on one channel. It returns those
// that have to be sent again, because the broker ended the channel over another.
func (p *publication) send(ctx context.Context, work []int) (again []int) {
	c := p.conn
	p.fate(work, broker.Unknown, nil)
	o, err := c.outlet(ctx)
	if err != nil {
		p.fate(work, fateBefore(err), err)
		return nil
	}
	f := flight{publication: p, outlet: o, work: work, confirms: make([]*amqp.DeferredConfirmation, 0, len(work))}
	f.stalled, _ = c.publisher.blockade()
	for f.settled < len(f.confirms) || f.open() {
		f.fill(ctx)
		if f.settled == len(f.confirms) {
			continue // nothing is under way: all that is left was given up
		}
		confirm := f.confirms[f.settled]
		select {
		case <-confirm.Done():
		default:
			select {
			case <-confirm.Done():
			case <-ctx.Done():
				f.giveUp(ctx.Err())
				return nil
			case <-c.done:
				f.giveUp(c.Err())
				return nil
			case <-f.stalled:
				_, err := c.publisher.blockade()
				f.giveUp(err)
				return nil
			}
		}
		if !f.settle() {
			return f.judge()
		}
	}
	if o.ch.IsClosed() {
		c.discard(o)
	} else {
		c.release(o)
	}
	return nil
}

// flight is what is under way on one channel: the messages at the positions
// work[settled:len(confirms)].
type flight struct {
	*publication
	outlet   *outlet
	work     []int
	confirms []*amqp.DeferredConfirmation
	settled  int
	bytes    int             // of bodies under way
	stalled  <-chan struct{} // closed when the broker blocks publishers for long
}

// open says whether there are messages to send yet.
func (f *flight) open() bool { return len(f.confirms) < len(f.work) }

// under are the positions of the messages under way.
func (f *flight) under() []int { return f.work[f.settled:len(f.confirms)] }

// fits says whether the window takes another message of this size.
func (f *flight) fits(size int) bool {
	n := len(f.confirms) - f.settled
	switch {
	case n == 0:
		return true
	case f.single, size >= alone, f.bytes >= alone, n >= windowMessages:
		return false
	}
	return f.bytes+size <= windowBytes
}

// fill sends as much as the window takes. What cannot be sent gets its fate, and is
// no longer part of the work.
func (f *flight) fill(ctx context.Context) {
	l := f.conn.publisher
	for f.open() {
		i := f.work[len(f.confirms)]
		m := &f.messages[i]
		if !f.fits(len(m.Body)) {
			return
		}
		l.wire.room(ctx, f.conn.done, f.stalled)
		if ctx.Err() != nil {
			f.cut(broker.Unknown, ctx.Err())
			return
		}
		stalled, err := l.blockade()
		if err != nil {
			f.cut(broker.Refused, err)
			return
		}
		f.stalled = stalled
		to := f.routes[i]
		confirm, err := f.outlet.ch.PublishWithDeferredConfirm(to.exchange, to.key, to.mandatory(), false, encode(m, f.transport))
		if err != nil {
			if len(f.confirms) > f.settled {
				return // the channel has ended, and what is under way will tell
			}
			if f.conn.Err() == nil && f.outlet.ch.IsClosed() {
				err = f.outlet.ended()
			}
			f.cut(broker.Unknown, err)
			return
		}
		f.confirms = append(f.confirms, confirm)
		f.bytes += len(m.Body)
	}
}

// cut ends the work with the messages that are under way.
func (f *flight) cut(fate broker.Fate, err error) {
	f.fate(f.work[len(f.confirms):], fate, err)
	f.work = f.work[:len(f.confirms)]
}

// settle gives the oldest message under way, whose confirmation is there, its fate.
// It reports false where the confirmation is there because the channel has ended.
func (f *flight) settle() bool {
	i := f.work[f.settled]
	f.returned(f.outlet, f.under())
	switch {
	case !f.confirms[f.settled].Acked():
		// The library answers no for everything under way when a channel ends.
		if f.outlet.ch.IsClosed() {
			return false
		}
		f.results[i] = broker.Result{Fate: broker.Refused, Err: fmt.Errorf("rabbitmq: the broker refuses the message to %q: the queue is full, or cannot take it now", f.messages[i].Destination)}
	case f.results[i].Err != nil:
		f.unroutable(i)
	default:
		f.results[i].Fate = broker.Confirmed
	}
	f.bytes -= len(f.messages[i].Body)
	f.settled++
	return true
}

// giveUp leaves what is under way, and what was not sent, Unknown. Confirmations
// that have come are taken.
func (f *flight) giveUp(err error) {
	f.cut(broker.Unknown, err)
	f.sweep(err)
	f.conn.discard(f.outlet)
}

// sweep settles what is confirmed of the messages under way; the others are left
// Unknown with the reason err, and returned.
func (f *flight) sweep(err error) (left []int) {
	f.returned(f.outlet, f.under())
	for n, i := range f.under() {
		switch confirm := f.confirms[f.settled+n]; {
		case !confirm.Acked():
			f.results[i] = broker.Result{Err: err}
			left = append(left, i)
		case f.results[i].Err != nil:
			f.unroutable(i)
		default:
			f.results[i].Fate = broker.Confirmed
		}
	}
	return left
}

// judge finds out why the channel has ended and which message is at fault. It
// returns the others that are not confirmed, and those that were not sent.
func (f *flight) judge() (again []int) {
	c := f.conn
	reason := f.outlet.ended()
	unsent := f.work[len(f.confirms):]
	doubtful := f.sweep(reason)
	c.discard(f.outlet)
	var said *amqp.Error
	if ended := c.Err(); ended != nil || !errors.As(reason, &said) || !said.Server || !said.Recover {
		// The connection has ended, or is about to.
		<-c.done
		f.fate(doubtful, broker.Unknown, c.Err())
		f.fate(unsent, broker.Unknown, c.Err())
		return nil
	}
	fate := broker.Refused
	if said.Code == amqp.PreconditionFailed || said.Code == amqp.ContentTooLarge {
		fate = broker.Unacceptable // whatever it is, it is about the message
	}
	err := fmt.Errorf("rabbitmq: the broker does not take the message: %w", said)
	left := append(doubtful, unsent...)
	for n, i := range left {
		if !f.blames(said, i) {
			continue
		}
		if said.Code == amqp.PreconditionFailed {
			f.fate(left[n:n+1], fate, err)
			return append(left[:n:n], left[n+1:]...)
		}
		// An exchange that is gone or forbidden is so for all.
		for _, k := range left {
			if f.routes[k].exchange == f.routes[i].exchange {
				f.fate([]int{k}, fate, err)
				f.conn.undeclare(f.routes[k])
			} else {
				again = append(again, k)
			}
		}
		return again
	}
	if len(doubtful) == 1 {
		f.fate(doubtful, fate, err)
		return unsent
	}
	f.single = true
	return left
}

// blames says whether the broker's words are about the message at position i.
func (p *publication) blames(said *amqp.Error, i int) bool {
	switch said.Code {
	case amqp.PreconditionFailed:
		var size int
		_, after, ok := strings.Cut(said.Reason, "message size ")
		n, _ := fmt.Sscanf(after, "%d", &size)
		return ok && n == 1 && size == len(p.messages[i].Body)
	case amqp.NotFound, amqp.AccessRefused:
		exchange := p.routes[i].exchange
		if exchange == "" {
			exchange = "amq.default"
		}
		return strings.Contains(said.Reason, "exchange '"+exchange+"'")
	}
	return false
}
