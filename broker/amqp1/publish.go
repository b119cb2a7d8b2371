package amqp1

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Publish sends all messages before it waits for the first answer; the broker's credit
// bounds how many are under way. The broker answers each durable message. Transient ones
// are presettled, which asks for no answer, but for the last to each destination: the
// answer to that one says that the broker has read those before it. Where the broker
// refuses the last, since it is full, it may have dropped others too: they are Unknown.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{conn: c, messages: messages, results: make([]broker.Result, len(messages)), taken: map[destination]*link{}, presettled: map[destination][]int{}}
	defer p.give()
	stop := context.AfterFunc(ctx, func() {
		if c.publisher.buffered.stuck() {
			// The library's writes do not end with ctx, so the connection has to. A broker
			// that has stopped reading is no use anyway.
			c.publisher.buffered.fail(ctx.Err())
		}
	})
	defer stop()
	last := map[destination]int{}
	var sound []int
	for i := range messages {
		if most := c.broker.maxMessage; most > 0 && len(messages[i].Body) > most {
			p.results[i] = broker.Result{Fate: broker.Unacceptable, Err: fmt.Errorf("amqp1: a body of %d bytes is over MaxMessage, %d", len(messages[i].Body), most)}
			continue
		}
		sound = append(sound, i)
		last[destination{messages[i].Destination, messages[i].Topic}] = i
	}
	for _, i := range sound {
		d := destination{messages[i].Destination, messages[i].Topic}
		p.send(ctx, i, d, transport, transport == waybill.Transient && i != last[d])
	}
	for _, s := range p.sent {
		p.settle(ctx, s)
	}
	for d := range p.presettled {
		p.presettledUnknown(d, nil)
	}
	p.blame()
	select {
	case <-c.Done():
		return p.results, fmt.Errorf("amqp1: publish: %w", c.Err())
	default:
	}
	if p.dead {
		<-c.Done()
		return p.results, fmt.Errorf("amqp1: publish: %w", c.Err())
	}
	return p.results, nil
}

// publication is one call of Publish.
type publication struct {
	conn       *conn
	messages   []broker.Message
	results    []broker.Result
	taken      map[destination]*link
	tried      []int // messages that were sent, or begun to be
	sent       []sent
	presettled map[destination][]int // settled as they were sent, with no later answer yet
	dead       bool                  // the connection has ended
}

// sent is a message without an answer yet.
type sent struct {
	index       int
	destination destination
	link        *link
	receipt     amqp.SendReceipt
}

// send sends one message, presettled or not, or sets its result where it cannot.
func (p *publication) send(ctx context.Context, i int, d destination, transport waybill.Transport, presettled bool) {
	if p.dead || ctx.Err() != nil {
		p.unknown(i, errors.Join(ctx.Err(), p.conn.Err()))
		return
	}
	encoded := encode(&p.messages[i], transport, p.conn.publisher.kind)
	for try := 0; ; try++ {
		k, cached := p.taken[d]
		if !cached {
			var err error
			if k, err = p.conn.links.take(ctx, d, p.conn.publisher.kind); err != nil {
				p.failed(ctx, i, err)
				return
			}
			p.taken[d] = k
		}
		if try == 0 {
			p.tried = append(p.tried, i)
		}
		var receipt amqp.SendReceipt
		var err error
		if presettled {
			err = k.sender.Send(ctx, encoded, &amqp.SendOptions{Settled: true})
		} else {
			receipt, err = k.sender.SendWithReceipt(ctx, encoded, nil)
		}
		switch {
		case err == nil && presettled:
			p.presettled[d] = append(p.presettled[d], i)
			return
		case err == nil:
			p.sent = append(p.sent, sent{i, d, k, receipt})
			return
		}
		var ended *amqp.LinkError
		if errors.As(err, &ended) {
			p.drop(d, k)
			p.presettledUnknown(d, err)
			if try == 0 {
				continue // it had ended before, as it does when its queue is deleted
			}
		}
		p.failed(ctx, i, err)
		return
	}
}

// settle waits for the answer to a message.
func (p *publication) settle(ctx context.Context, s sent) {
	state, err := s.receipt.Wait(ctx)
	if err != nil {
		var ended *amqp.LinkError
		if errors.As(err, &ended) {
			p.drop(s.destination, s.link)
			p.presettledUnknown(s.destination, err)
			p.unknown(s.index, err)
			return
		}
		p.failed(ctx, s.index, err)
		return
	}
	switch state := state.(type) {
	case *amqp.StateAccepted:
		p.results[s.index] = broker.Result{Fate: broker.Confirmed}
		for _, i := range p.presettled[s.destination] {
			p.results[i] = broker.Result{Fate: broker.Confirmed}
		}
		delete(p.presettled, s.destination)
	case *amqp.StateRejected:
		if state.Error == nil {
			p.results[s.index] = broker.Result{Fate: broker.Refused, Err: errors.New("amqp1: the broker rejects the message and does not say why")}
			return
		}
		fate := verdict(state.Error)
		if state.Error.Condition == "failed" || state.Error.Condition == amqp.ErrCondInternalError {
			fate = broker.Unknown // Classic has failed, perhaps after it had stored the message
		}
		p.results[s.index] = broker.Result{Fate: fate, Err: fmt.Errorf("amqp1: %w", state.Error)}
	default:
		p.results[s.index] = broker.Result{Fate: broker.Refused, Err: fmt.Errorf("amqp1: the broker does not take the message: %T", state)}
	}
}

// failed sets the result of a message that was not sent, for the reason err.
func (p *publication) failed(ctx context.Context, i int, err error) {
	if ctx.Err() != nil {
		p.unknown(i, ctx.Err())
		return
	}
	var (
		conn    *amqp.ConnError
		session *amqp.SessionError
		said    *amqp.Error
	)
	switch {
	case errors.As(err, &conn):
		p.dead = true
	case errors.As(err, &session):
		// A connection has one session, and is of no use without it.
		p.dead = true
		p.conn.publisher.buffered.fail(err)
	case errors.As(err, &said):
		p.results[i] = broker.Result{Fate: verdict(said), Err: fmt.Errorf("amqp1: %w", err)}
		return
	}
	p.unknown(i, err)
}

// presettledUnknown sets the results of the presettled messages to d, of which no answer
// will come.
func (p *publication) presettledUnknown(d destination, err error) {
	if err == nil {
		err = errors.New("the broker did not take the last message that was sent there")
	}
	for _, i := range p.presettled[d] {
		p.unknown(i, err)
	}
	delete(p.presettled, d)
}

// unknown makes the result at position i Unknown.
func (p *publication) unknown(i int, err error) {
	if err == nil {
		err = errors.New("the message's fate is unknown")
	}
	p.results[i] = broker.Result{Fate: broker.Unknown, Err: fmt.Errorf("amqp1: %w", err)}
}

// blame finds the message that was too large, where the broker has ended a link or the
// connection for that reason. It does not say which message it was, but the largest
// without an answer must be too large; it has to be Unacceptable, or it would break every
// connection that follows. Classic calls it a decode error, which a small message is no
// reason for.
func (p *publication) blame() {
	largest := -1
	for _, i := range p.tried {
		result := p.results[i]
		var said *amqp.Error
		if result.Fate != broker.Unknown || !errors.As(result.Err, &said) {
			continue
		}
		size := len(p.messages[i].Body)
		if said.Condition != amqp.ErrCondMessageSizeExceeded && (said.Condition != amqp.ErrCondDecodeError || size < blameBytes) {
			continue
		}
		if largest < 0 || size > len(p.messages[largest].Body) {
			largest = i
		}
	}
	if largest >= 0 {
		p.results[largest].Fate = broker.Unacceptable
	}
}

// blameBytes is less than any broker's limit.
const blameBytes = 64 << 10

// verdict is the fate of a message by the broker's error.
func verdict(err *amqp.Error) broker.Fate {
	switch err.Condition {
	case amqp.ErrCondMessageSizeExceeded, amqp.ErrCondDecodeError, amqp.ErrCondInvalidField:
		return broker.Unacceptable
	}
	return broker.Refused
}

// drop forgets a link that has ended.
func (p *publication) drop(d destination, k *link) {
	p.conn.links.drop(d, k)
	if p.taken[d] == k {
		delete(p.taken, d)
		p.conn.links.give(k)
	}
}

// give gives all links back.
func (p *publication) give() {
	for _, k := range p.taken {
		p.conn.links.give(k)
	}
}
