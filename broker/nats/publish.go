package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// The greatest number of messages of a chunk. The messages of a chunk take their room in
// the window together, are sent together and, in the best case, confirmed together.
const (
	durableChunk   = 64
	transientChunk = 256
)

// outgoing is a message that is ready to be sent.
type outgoing struct {
	at    int // its position in the batch
	place *place
	msg   *natsgo.Msg
	size  int
}

// Publish sends the messages in chunks, as the window has room for them. Each message asks
// for JetStream's confirmation; of Transient ones only the last for each destination in a
// chunk, whose confirmation stands for those before it.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	if err := c.Err(); err != nil {
		return c.unknown(results, err), err
	}
	if err := ctx.Err(); err != nil {
		return c.unknown(results, err), nil
	}
	if len(messages) == 0 {
		return results, nil
	}
	ready, err := c.prepare(ctx, messages, results)
	if err == nil {
		err = c.send(ctx, ready, results, transport == waybill.Transient)
	}
	if err != nil {
		c.unknown(results, err)
		if ended := c.Err(); ended != nil {
			return c.unknown(results, ended), ended
		}
	}
	return results, nil
}

// unknown sets the reason of each result that is Unknown.
func (c *conn) unknown(results []broker.Result, err error) []broker.Result {
	for i := range results {
		if results[i].Fate == broker.Unknown {
			results[i].Err = err
		}
	}
	return results
}

// prepare encodes the messages and makes sure that their destinations exist. What cannot be
// sent gets its result.
func (c *conn) prepare(ctx context.Context, messages []broker.Message, results []broker.Result) ([]outgoing, error) {
	ready := make([]outgoing, 0, len(messages))
	most := c.nc.MaxPayload()
	var p *place
	var mustExist bool
	var found error
	for i := range messages {
		m := &messages[i]
		if p == nil || p.name != m.Destination || p.topic != m.Topic || mustExist != m.MustExist {
			p, mustExist = c.place(m.Destination, m.Topic), m.MustExist
			found = nil
			if !c.b.options.NoCreate {
				found = c.find(ctx, p, !mustExist)
			}
		}
		if found != nil {
			if c.Err() != nil {
				return nil, found
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			results[i] = broker.Result{Fate: broker.Refused, Err: found}
			continue
		}
		h := header(m)
		size := len(m.Body) + headerSize(h)
		if int64(size) > most {
			results[i] = broker.Result{Fate: broker.Unacceptable, Err: tooLarge(size, most)}
			continue
		}
		ready = append(ready, outgoing{at: i, place: p, size: size, msg: &natsgo.Msg{Subject: p.subject, Header: h, Data: m.Body}})
	}
	return ready, nil
}

// send sends and waits for the confirmations.
func (c *conn) send(ctx context.Context, ready []outgoing, results []broker.Result, transient bool) error {
	if len(ready) == 0 {
		return nil
	}
	batch := c.replies.expect(ready, results)
	defer c.replies.abandon(batch)
	most := durableChunk
	if transient {
		most = transientChunk
	}
	most = min(most, max(1, c.b.options.Window/2))
	for len(ready) > 0 {
		n, size := 0, 0
		for n < min(len(ready), most) && (n == 0 || size+ready[n].size <= chunkBytes) {
			size += ready[n].size
			n++
		}
		if err := c.acquire(ctx, batch, n, size); err != nil {
			return err
		}
		if err := c.sendChunk(ctx, batch, ready[:n], transient); err != nil {
			return err
		}
		ready = ready[n:]
	}
	return c.await(ctx, batch, batch.finished)
}

// sendChunk sends one chunk.
func (c *conn) sendChunk(ctx context.Context, batch *batch, ready []outgoing, transient bool) error {
	c.replies.sending(batch, ready, transient)
	defer c.cutIfStuck(ctx)()
	for i := range ready {
		o := &ready[i]
		if err := c.nc.PublishMsg(o.msg); err != nil {
			if errors.Is(err, natsgo.ErrMaxPayload) || errors.Is(err, natsgo.ErrBadSubject) || errors.Is(err, natsgo.ErrBadHeaderMsg) {
				c.replies.refuse(batch, o.at, err)
				continue
			}
			return c.reason(err)
		}
	}
	return nil
}

// acquire waits for room in the window.
func (c *conn) acquire(ctx context.Context, batch *batch, n, size int) error {
	for {
		changed, ok := c.window.take(n, size)
		if ok {
			return nil
		}
		if err := c.await(ctx, batch, changed); err != nil {
			return err
		}
	}
}

// await waits until event is closed. It returns an error when the context or the connection
// ends, or when no confirmation has come for ConfirmTimeout.
func (c *conn) await(ctx context.Context, batch *batch, event <-chan struct{}) error {
	limit := c.b.options.ConfirmTimeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-event:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return c.Err()
		case <-timer.C:
			idle, denied := c.replies.idle(batch)
			switch {
			case idle < limit:
			case denied != nil:
				return fmt.Errorf("no confirmation came from %s within %v; it did not allow something: %w", c.b.hosts(), limit, denied)
			default:
				return fmt.Errorf("no confirmation came from %s within %v", c.b.hosts(), limit)
			}
			timer.Reset(limit - idle)
		}
	}
}

// reason is why the connection has ended, or err where it has not.
func (c *conn) reason(err error) error {
	if ended := c.Err(); ended != nil {
		return ended
	}
	if errors.Is(err, natsgo.ErrConnectionClosed) {
		// The client's callback for that is about to run.
		c.end(fmt.Errorf("the connection to %s ended: %w", c.b.hosts(), lastError(c.nc)))
		return c.Err()
	}
	return err
}

// stuckFor is how long a write may still take after its context has ended.
const stuckFor = time.Second

// cutIfStuck cuts the connection where writing takes longer than stuckFor after ctx has
// ended: the client's calls take no context, and wait for ever for a server that does not
// read. Call the function that it returns when the writing is over.
func (c *conn) cutIfStuck(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	var timer *time.Timer
	started := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		timer = time.AfterFunc(stuckFor, c.socket.cut)
		close(started)
	})
	return func() {
		if !unwatch() {
			<-started
			timer.Stop()
		}
	}
}
