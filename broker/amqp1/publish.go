package amqp1

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Publish sends all messages before it waits for the first answer; the broker's
// credit bounds how many are under way. It answers each durable message. Transient
// ones are settled as they are sent, but for the last to each destination: the
// answer to that one says that the broker has read those before it. A broker that
// refuses the last, since it is full, may have dropped others: they are Unknown.
func (c *Conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{conn: c, messages: messages, results: make([]broker.Result, len(messages)), taken: map[target]*link{}, loose: map[target][]int{}}
	defer p.give()
	stop := context.AfterFunc(ctx, func() {
		if c.publisher.net.stuck() {
			// The library waits for its writes whatever ctx says. A broker that reads
			// nothing any more is as good as gone.
			c.publisher.net.fail(ctx.Err())
		}
	})
	defer stop()
	last := map[target]int{}
	var sound []int
	for i := range messages {
		if most := c.broker.maxMessage; most > 0 && len(messages[i].Body) > most {
			p.results[i] = broker.Result{Fate: broker.Unacceptable, Err: fmt.Errorf("amqp1: a body of %d bytes is over MaxMessage, %d", len(messages[i].Body), most)}
			continue
		}
		sound = append(sound, i)
		last[target{messages[i].Destination, messages[i].Topic}] = i
	}
	for _, i := range sound {
		t := target{messages[i].Destination, messages[i].Topic}
		p.send(ctx, i, t, transport, transport == waybill.Transient && i != last[t])
	}
	for _, s := range p.sent {
		p.settle(ctx, s)
	}
	for t := range p.loose {
		p.lose(t, nil)
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
	conn     *Conn
	messages []broker.Message
	results  []broker.Result
	taken    map[target]*link
	tried    []int // messages that were sent, or begun to be
	sent     []sent
	loose    map[target][]int // settled as they were sent, with no later answer yet
	dead     bool             // the connection has ended
}

// sent is a message without an answer yet.
type sent struct {
	index   int
	target  target
	link    *link
	receipt amqp.SendReceipt
}

// send sends one message, settled or not, or sets its result where it cannot.
func (p *publication) send(ctx context.Context, i int, t target, transport waybill.Transport, settled bool) {
	if p.dead || ctx.Err() != nil {
		p.unknown(i, errors.Join(ctx.Err(), p.conn.Err()))
		return
	}
	encoded := encode(&p.messages[i], transport, p.conn.publisher.kind)
	for try := 0; ; try++ {
		k, cached := p.taken[t]
		if !cached {
			var err error
			if k, err = p.conn.links.take(ctx, t, p.conn.publisher.kind); err != nil {
				p.failed(ctx, i, err)
				return
			}
			p.taken[t] = k
		}
		if try == 0 {
			p.tried = append(p.tried, i)
		}
		var receipt amqp.SendReceipt
		var err error
		if settled {
			err = k.sender.Send(ctx, encoded, &amqp.SendOptions{Settled: true})
		} else {
			receipt, err = k.sender.SendWithReceipt(ctx, encoded, nil)
		}
		switch {
		case err == nil && settled:
			p.loose[t] = append(p.loose[t], i)
			return
		case err == nil:
			p.sent = append(p.sent, sent{i, t, k, receipt})
			return
		}
		var ended *amqp.LinkError
		if errors.As(err, &ended) {
			p.drop(t, k)
			p.lose(t, err)
			if try == 0 {
				continue // the link had ended before, perhaps since its queue was deleted
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
			p.drop(s.target, s.link)
			p.lose(s.target, err)
			p.unknown(s.index, err)
			return
		}
		p.failed(ctx, s.index, err)
		return
	}
	switch state := state.(type) {
	case *amqp.StateAccepted:
		p.results[s.index] = broker.Result{Fate: broker.Confirmed}
		for _, i := range p.loose[s.target] {
			p.results[i] = broker.Result{Fate: broker.Confirmed}
		}
		delete(p.loose, s.target)
	case *amqp.StateRejected:
		if state.Error == nil {
			p.results[s.index] = broker.Result{Fate: broker.Refused, Err: errors.New("amqp1: the broker rejects the message and does not say why")}
			return
		}
		fate := verdict(state.Error)
		if state.Error.Condition == "failed" || state.Error.Condition == amqp.ErrCondInternalError {
			fate = broker.Unknown // Classic says so when it stumbled, perhaps after it had stored the message
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
		// There is one session to a connection: without it nothing goes on.
		p.dead = true
		p.conn.publisher.net.fail(err)
	case errors.As(err, &said):
		p.results[i] = broker.Result{Fate: verdict(said), Err: fmt.Errorf("amqp1: %w", err)}
		return
	}
	p.unknown(i, err)
}

// lose gives up learning what became of the messages to t that were sent settled.
func (p *publication) lose(t target, err error) {
	if err == nil {
		err = errors.New("the broker did not take the last message that was sent there")
	}
	for _, i := range p.loose[t] {
		p.unknown(i, err)
	}
	delete(p.loose, t)
}

func (p *publication) unknown(i int, err error) {
	if err == nil {
		err = errors.New("the message's fate is unknown")
	}
	p.results[i] = broker.Result{Fate: broker.Unknown, Err: fmt.Errorf("amqp1: %w", err)}
}

// blame finds the message that was too large where a broker has ended a link or the
// connection for that reason, which does not say for which: the largest without an
// answer is too large for certain, and has to be told, or it would break every
// connection to come. Classic calls it a decode error; a small message is no reason
// for one.
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

// verdict reads the fate of a message out of a broker's error.
func verdict(err *amqp.Error) broker.Fate {
	switch err.Condition {
	case amqp.ErrCondMessageSizeExceeded, amqp.ErrCondDecodeError, amqp.ErrCondInvalidField:
		return broker.Unacceptable
	}
	return broker.Refused
}

// drop forgets a link that has ended.
func (p *publication) drop(t target, k *link) {
	p.conn.links.drop(t, k)
	if p.taken[t] == k {
		delete(p.taken, t)
		p.conn.links.give(k)
	}
}

// give gives all links back.
func (p *publication) give() {
	for _, k := range p.taken {
		p.conn.links.give(k)
	}
}
