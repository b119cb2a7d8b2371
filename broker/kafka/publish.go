package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Publish gives the messages to the library, which sends them in batches of its own. See
// broker.Conn. What is under way when ctx ends is Unknown, and may arrive later.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{conn: c, messages: messages, results: make([]broker.Result, len(messages)), topics: make([]string, len(messages))}
	client, err := c.producer(transport == waybill.Transient)
	if err != nil {
		for i := range p.results {
			p.results[i].Err = err
		}
		return p.results, fmt.Errorf("kafka: publish: %w", err)
	}
	work := p.prepare(ctx)
	// Kafka refuses a whole batch over one message in it, or because all of it together is too
	// large, and the library may have put messages of other calls into it. One message at a
	// time shows which it is.
	p.sendAlone(ctx, p.send(ctx, client, work))
	unknown := false
	for i := range p.results {
		unknown = unknown || p.results[i].Fate == broker.Unknown
	}
	if err := c.Err(); err != nil && (unknown || len(messages) == 0) {
		return p.results, fmt.Errorf("kafka: publish: %w", err)
	}
	return p.results, nil
}

// publication is one call of Publish.
type publication struct {
	conn     *conn
	messages []broker.Message
	topics   []string // the Kafka topic of each
	results  []broker.Result
}

// prepare finds the topic of each message and returns the positions of the messages
// that can be sent.
func (p *publication) prepare(ctx context.Context) []int {
	work := make([]int, 0, len(p.messages))
	most := p.conn.broker.options.MaxMessage
	var last lookupKey
	var name string
	var problem error
	for i := range p.messages {
		m := &p.messages[i]
		if len(m.Body) > most {
			p.results[i] = broker.Result{Fate: broker.Unacceptable, Err: fmt.Errorf("kafka: a body of %d bytes is over MaxMessage, %d", len(m.Body), most)}
			continue
		}
		if k := (lookupKey{destination{m.Destination, m.Topic}, m.MustExist}); name == "" && problem == nil || k != last {
			last = k
			if problem = ctx.Err(); problem == nil {
				name, problem = p.conn.resolve(ctx, k)
			}
		}
		if problem == nil {
			p.topics[i] = name
			work = append(work, i)
			continue
		}
		p.results[i] = broker.Result{Fate: fateBefore(problem), Err: problem}
	}
	return work
}

// inflight is what is under way together. The library may answer after Publish has
// returned.
type inflight struct {
	mu   sync.Mutex
	left int
	errs []error       // by position in work; nil where confirmed
	said []bool        // by position in work: there is an answer
	done chan struct{} // closed when left is 0
}

// answer notes the library's answer for a position in work.
func (f *inflight) answer(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[n], f.said[n] = err, true
	if f.left--; f.left == 0 {
		close(f.done)
	}
}

// sendAlone publishes the messages at these positions, which were refused together with
// others, one by one and through a client that nobody else uses meanwhile.
func (p *publication) sendAlone(ctx context.Context, work []int) {
	if len(work) == 0 {
		return
	}
	client, err := p.conn.takeLone(ctx)
	if err != nil {
		return // they stay Refused
	}
	for _, i := range work {
		if ctx.Err() != nil || p.conn.Err() != nil {
			break
		}
		for range p.send(ctx, client, []int{i}) {
			p.results[i].Fate = broker.Unacceptable
		}
	}
	p.conn.releaseLone(client)
}

// takeLone returns the client for messages that travel alone, until releaseLone.
func (c *conn) takeLone(ctx context.Context) (*client, error) {
	select {
	case client := <-c.lone:
		if client != nil {
			return client, nil
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.Err()
	}
	client, err := c.client(kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		c.lone <- nil
	}
	return client, err
}

// releaseLone gives the client back. One that still has a message, of which nobody waits for
// the answer any more, would send the next one with it: there will be another client.
func (c *conn) releaseLone(client *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || client.BufferedProduceRecords() > 0 {
		client.kill()
		go client.close()
		client = nil
	}
	c.lone <- client
}

// send publishes the messages at these positions and gives them their fates. It returns those
// that will never be taken as they are, or were in one batch with such: these are Refused.
func (p *publication) send(ctx context.Context, client *client, work []int) (doubtful []int) {
	if len(work) == 0 {
		return nil
	}
	f := &inflight{left: len(work), errs: make([]error, len(work)), said: make([]bool, len(work)), done: make(chan struct{})}
	s := newSlab(p.messages, work)
	sent := 0
	for ; sent < len(work) && ctx.Err() == nil && p.conn.Err() == nil; sent++ {
		n := sent
		r := s.record(&p.messages[work[sent]], p.topics[work[sent]])
		// The end of ctx must not cancel the record: the library would fail all that waits
		// for the same partition.
		r.Context = context.Background()
		client.Produce(ctx, r, func(_ *kgo.Record, err error) { f.answer(n, err) })
	}
	if sent == len(work) {
		select {
		case <-f.done:
		case <-ctx.Done():
		case <-p.conn.done:
		}
	}
	why := ctx.Err()
	if why == nil {
		why = p.conn.Err()
	}

	f.mu.Lock()
	errs, said := append([]error(nil), f.errs...), append([]bool(nil), f.said...)
	f.mu.Unlock()
	for n, i := range work {
		switch err := errs[n]; {
		case !said[n]:
			p.results[i] = broker.Result{Err: fmt.Errorf("kafka: the message's fate is unknown: %w", why)}
		case err == nil:
			p.results[i] = broker.Result{Fate: broker.Confirmed}
		default:
			fate := fateOf(err)
			if fate == broker.Unacceptable {
				fate = broker.Refused
				doubtful = append(doubtful, i)
			}
			p.results[i] = broker.Result{Fate: fate, Err: fmt.Errorf("kafka: publish to %q: %w", p.messages[i].Destination, err)}
			if isMissing(err) {
				p.conn.forgetTopic(destination{p.messages[i].Destination, p.messages[i].Topic}, p.topics[i])
			}
		}
	}
	return doubtful
}

// forgetTopic forgets a topic that was deleted. It is made again with the next message.
func (c *conn) forgetTopic(d destination, topic string) {
	c.unresolve(d)
	c.mu.Lock()
	clients := []*client{c.durable, c.transient}
	c.mu.Unlock()
	select {
	case client := <-c.lone: // whoever has it makes another one, if need be
		if client != nil {
			client.kill()
			go client.close()
		}
		c.lone <- nil
	default:
	}
	for _, client := range clients {
		if client != nil {
			client.PurgeTopicsFromProducing(topic)
		}
	}
}

// fateBefore is the fate of a message that could not be sent because of err.
func fateBefore(err error) broker.Fate {
	var said *kerr.Error
	if errors.As(err, &said) && !said.Retriable || isMissing(err) || errors.Is(err, broker.ErrNoQueue) {
		return broker.Refused
	}
	return broker.Unknown
}

// fateOf is a message's fate by the library's error. An error that may have come after the
// message was stored means Unknown.
func fateOf(err error) broker.Fate {
	for fate, all := range map[broker.Fate][]error{
		broker.Unacceptable: {
			kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat,
		},
		broker.Refused: {
			kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
			kerr.NotEnoughReplicas, kerr.InvalidTopicException, kerr.PolicyViolation, kerr.InvalidRequiredAcks,
		},
	} {
		for _, one := range all {
			if errors.Is(err, one) {
				return fate
			}
		}
	}
	return broker.Unknown
}
