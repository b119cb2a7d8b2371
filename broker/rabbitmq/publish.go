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

// Publish sends the messages with as many confirmations outstanding as a window allows.
// See broker.Conn.
//
// RabbitMQ ends the channel over a message that it does not take, and forgets the others
// on it: those are sent again, on a new channel. Where it blocks publishers meanwhile, for
// longer than a second, it has stopped reading and no confirmation will come: what is under
// way is Unknown then, and may arrive when it reads again. Up to sixteen batches are
// published at a time; more wait for their turn.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{
		conn: c, messages: messages, transport: transport,
		results: make([]broker.Result, len(messages)), routes: make([]route, len(messages)),
	}
	work := p.prepare(ctx)
	for len(work) > 0 {
		work = p.send(ctx, work)
	}
	unknown := false
	for i := range p.results {
		if p.results[i].Fate == broker.Unknown {
			unknown = true
			if p.results[i].Err == nil {
				p.results[i].Err = errUnknown
			}
		}
	}
	if err := c.Err(); err != nil && (unknown || len(messages) == 0) {
		return p.results, fmt.Errorf("rabbitmq: publish: %w", err)
	}
	return p.results, nil
}

// publication is one call of Publish.
type publication struct {
	conn      *conn
	messages  []broker.Message
	transport waybill.Transport
	routes    []route
	results   []broker.Result
	single    bool // one message at a time, to learn which one the broker does not take
}

// setFate sets the results of the messages at these positions.
func (p *publication) setFate(which []int, fate broker.Fate, err error) {
	for _, i := range which {
		p.results[i] = broker.Result{Fate: fate, Err: err}
	}
}

// prepare finds the route of each message, declares what does not exist, and returns the
// positions of the messages that can be sent. The others have their results.
func (p *publication) prepare(ctx context.Context) []int {
	work := make([]int, 0, len(p.messages))
	s := p.conn.publisher
	frame := s.amqp.Config.FrameSize
	_, blocked := s.blockade() // declarations would wait too
	var problem error          // of the route of the message before
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
		if last := len(work) - 1; last < 0 || p.routes[work[last]] != p.routes[i] || p.messages[work[last]].MustExist != m.MustExist {
			problem = ctx.Err()
			if problem == nil && !m.MustExist {
				problem = p.conn.ensure(ctx, p.routes[i])
			}
		}
		if problem == nil {
			work = append(work, i)
			continue
		}
		p.setFate([]int{i}, fateBefore(problem), problem)
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

// send publishes the messages at these positions on one channel. It returns those that
// have to be sent again because the broker ended the channel over another one.
func (p *publication) send(ctx context.Context, work []int) (again []int) {
	c := p.conn
	p.setFate(work, broker.Unknown, nil)
	ch, err := c.publisherChannel(ctx)
	if err != nil {
		p.setFate(work, fateBefore(err), err)
		return nil
	}
	f := inflight{publication: p, channel: ch, work: work, confirms: make([]*amqp.DeferredConfirmation, 0, len(work))}
	f.stalled, _ = c.publisher.blockade()
	for f.settled < len(f.confirms) || f.unsent() {
		f.fill(ctx)
		if f.settled == len(f.confirms) {
			continue // nothing is under way: fill has given up the rest
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
			return f.channelEnded()
		}
	}
	if ch.ch.IsClosed() {
		c.discard(ch)
	} else {
		c.release(ch)
	}
	return nil
}

// inflight is what is under way on one channel: the messages at the positions
// work[settled:len(confirms)].
type inflight struct {
	*publication
	channel  *publisherChannel
	work     []int
	confirms []*amqp.DeferredConfirmation
	settled  int
	bytes    int             // of bodies under way
	stalled  <-chan struct{} // closed when the broker has blocked publishers for longer than blockPatience
}

// unsent reports whether there are messages that have not been sent.
func (f *inflight) unsent() bool { return len(f.confirms) < len(f.work) }

// underWay are the positions of the messages under way.
func (f *inflight) underWay() []int { return f.work[f.settled:len(f.confirms)] }

// fits reports whether the window takes another message with a body of size bytes.
func (f *inflight) fits(size int) bool {
	n := len(f.confirms) - f.settled
	switch {
	case n == 0:
		return true
	case f.single, size >= aloneBytes, f.bytes >= aloneBytes, n >= windowMessages:
		return false
	}
	return f.bytes+size <= windowBytes
}

// fill sends as much as the window takes. What cannot be sent gets its fate and is removed
// from the work.
func (f *inflight) fill(ctx context.Context) {
	s := f.conn.publisher
	for f.unsent() {
		i := f.work[len(f.confirms)]
		m := &f.messages[i]
		if !f.fits(len(m.Body)) {
			return
		}
		s.conn.room(ctx, f.conn.done, f.stalled)
		if ctx.Err() != nil {
			f.giveUpUnsent(broker.Unknown, ctx.Err())
			return
		}
		stalled, err := s.blockade()
		if err != nil {
			f.giveUpUnsent(broker.Refused, err)
			return
		}
		f.stalled = stalled
		to := f.routes[i]
		confirm, err := f.channel.ch.PublishWithDeferredConfirm(to.exchange, to.key, to.mandatory(), false, encode(m, f.transport))
		if err != nil {
			if len(f.confirms) > f.settled {
				return // the channel has ended; settle finds that out
			}
			if f.conn.Err() == nil && f.channel.ch.IsClosed() {
				err = f.channel.ended()
			}
			f.giveUpUnsent(broker.Unknown, err)
			return
		}
		f.confirms = append(f.confirms, confirm)
		f.bytes += len(m.Body)
	}
}

// giveUpUnsent gives what has not been sent a fate, and removes it from the work.
func (f *inflight) giveUpUnsent(fate broker.Fate, err error) {
	f.setFate(f.work[len(f.confirms):], fate, err)
	f.work = f.work[:len(f.confirms)]
}

// settle gives the oldest message under way, whose confirmation has come, its fate. It
// reports false where the library has made the confirmation because the channel has ended.
func (f *inflight) settle() bool {
	i := f.work[f.settled]
	f.returned(f.channel, f.underWay())
	switch {
	case !f.confirms[f.settled].Acked():
		// When a channel ends, the library makes a negative one for all that is under way.
		if f.channel.ch.IsClosed() {
			return false
		}
		f.results[i] = broker.Result{Fate: broker.Refused, Err: fmt.Errorf("rabbitmq: the broker refuses the message to %q: the queue is full, or cannot take it now", f.messages[i].Destination)}
	case f.results[i].Err != nil:
		f.unroutable(i)
	default:
		f.results[i].Fate = broker.Confirmed
		if f.messages[i].MustExist {
			f.conn.exists(f.routes[i])
		}
	}
	f.bytes -= len(f.messages[i].Body)
	f.settled++
	return true
}

// giveUp makes what is under way, and what was not sent, Unknown, but for what has been
// confirmed meanwhile.
func (f *inflight) giveUp(err error) {
	f.giveUpUnsent(broker.Unknown, err)
	f.takeConfirmed(err)
	f.conn.discard(f.channel)
}

// takeConfirmed gives the messages under way that are confirmed their fates. The others
// become Unknown, for the reason err, and it returns their positions.
func (f *inflight) takeConfirmed(err error) (left []int) {
	f.returned(f.channel, f.underWay())
	for n, i := range f.underWay() {
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

// channelEnded finds out why the channel has ended and which message is at fault, and gives
// that one its fate. It returns the others that are not confirmed, and those that were not
// sent.
func (f *inflight) channelEnded() (again []int) {
	c := f.conn
	reason := f.channel.ended()
	unsent := f.work[len(f.confirms):]
	doubtful := f.takeConfirmed(reason)
	c.discard(f.channel)
	var said *amqp.Error
	if ended := c.Err(); ended != nil || !errors.As(reason, &said) || !said.Server || !said.Recover {
		// The connection has ended, or is about to.
		<-c.done
		f.setFate(doubtful, broker.Unknown, c.Err())
		f.setFate(unsent, broker.Unknown, c.Err())
		return nil
	}
	fate := broker.Refused
	if said.Code == amqp.PreconditionFailed || said.Code == amqp.ContentTooLarge {
		fate = broker.Unacceptable // these two are about the message
	}
	err := fmt.Errorf("rabbitmq: the broker does not take the message: %w", said)
	left := append(doubtful, unsent...)
	for n, i := range left {
		if !f.isAbout(said, i) {
			continue
		}
		if said.Code == amqp.PreconditionFailed {
			f.setFate(left[n:n+1], fate, err)
			return append(left[:n:n], left[n+1:]...)
		}
		// An exchange that is gone or forbidden is that for every message to it.
		for _, k := range left {
			if f.routes[k].exchange == f.routes[i].exchange {
				f.setFate([]int{k}, fate, err)
				f.conn.undeclare(f.routes[k])
			} else {
				again = append(again, k)
			}
		}
		return again
	}
	if len(doubtful) == 1 {
		f.setFate(doubtful, fate, err)
		return unsent
	}
	f.single = true
	return left
}

// isAbout reports whether the broker's error is about the message at position i.
func (p *publication) isAbout(said *amqp.Error, i int) bool {
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
