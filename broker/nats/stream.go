package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker"
)

// place is where a destination is on the server: its subject and its stream.
type place struct {
	name    string
	topic   bool
	subject string

	mu     sync.Mutex // held while the stream is looked for
	stream string     // the stream's name; "" until it is found or made
	own    bool       // the stream is one that this package makes, for this destination alone
}

// destination is a destination.
type destination struct {
	name  string
	topic bool
}

// maxPlaces is how many destinations' places are remembered at least. Of any other one the
// server is asked again.
const maxPlaces = 10_000

// place returns the place of a destination, with what this connection knows of it.
func (c *conn) place(name string, topic bool) *place {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := destination{name, topic}
	p, ok := c.places.Get(key)
	if !ok {
		p = &place{name: name, topic: topic, subject: subject(name, topic, c.b.options.Prefix)}
		c.places.Set(key, p)
	}
	return p
}

// forget makes the connection look again for the stream of a destination.
func (c *conn) forget(p *place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := destination{p.name, p.topic}
	if known, _ := c.places.Get(key); known == p {
		c.places.Delete(key)
	}
}

// find looks for the stream of a place, unless it is known, and with create makes one where
// there is none.
func (c *conn) find(ctx context.Context, p *place, create bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	for try := 0; ; try++ {
		name, err := ask(ctx, func(ctx context.Context) (string, error) { return c.js.StreamNameBySubject(ctx, p.subject) })
		if err == nil {
			p.stream, p.own = name, name == streamName(p.name, p.topic, c.b.options.Prefix)
			return nil
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return c.apiError(ctx, err)
		}
		if c.b.options.NoCreate || !create {
			return fmt.Errorf("%w: no stream has the subject %s; make one, or allow it to be made", broker.ErrNoQueue, p.subject)
		}
		config := c.b.streamConfig(p)
		_, err = ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return c.js.CreateStream(ctx, config) })
		if err == nil {
			p.stream, p.own = config.Name, true
			return nil
		}
		// Somebody else may have made it in the meantime.
		if try > 0 || !exists(err) {
			return fmt.Errorf("make the stream %s for %s: %w", config.Name, p.subject, c.apiError(ctx, err))
		}
	}
}

// exists reports whether a stream was not made because another one has its name or its
// subject.
func exists(err error) bool {
	const subjectsOverlap = 10065
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.As(err, &api) && api.ErrorCode == subjectsOverlap
}

// apiTimeout bounds all requests to JetStream's management about one destination.
const apiTimeout = 10 * time.Second

// askTimeout bounds one of these requests.
const askTimeout = 2 * time.Second

// ask sends a request to JetStream's management again and again until there is an answer or
// ctx ends: a cluster without a leader does not answer a request, not even later when it
// has one. The request must be one that may be repeated.
func ask[T any](ctx context.Context, request func(ctx context.Context) (T, error)) (T, error) {
	for {
		once, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err := request(once)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return answer, err
		}
	}
}

// apiError adds to an error of JetStream's management what to do about it.
func (c *conn) apiError(ctx context.Context, err error) error {
	if ended := c.Err(); ended != nil {
		return ended
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, natsgo.ErrNoResponders):
		return fmt.Errorf("JetStream is not enabled at %s; start nats-server with --jetstream, or enable it for the account: %w", c.b.hosts(), err)
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from JetStream; the user may lack the permission to publish to $JS.API.> or to subscribe to %s.>: %w", c.b.options.InboxPrefix, err)
	}
	return err
}

// consumer finds or makes the consumer of a subscription, and returns its name and how long
// it waits for an acknowledgement.
func (c *conn) consumer(ctx context.Context, p *place, s *broker.Subscription) (name string, ackWait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	group := ""
	if p.topic {
		if group = s.Group; group == "" {
			return "", 0, errors.New("a topic needs a Group: its consumer is named after it")
		}
	}
	name = groupName(group, p)
	config := jetstream.ConsumerConfig{
		Durable:       name,
		Description:   "Waybill's consumer of " + p.name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.b.options.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: -1, // each receiver's Prefetch bounds its own
		FilterSubject: p.subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if p.topic {
		config.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	var made jetstream.Consumer
	for try := 0; ; try++ {
		made, err = ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) { return c.js.Consumer(ctx, p.stream, name) })
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			break
		}
		made, err = ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
			return c.js.CreateConsumer(ctx, p.stream, config)
		})
		if try > 0 || !errors.Is(err, jetstream.ErrConsumerExists) {
			break
		}
	}
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			c.forget(p)
		}
		return "", 0, fmt.Errorf("consumer %s of stream %s: %w", name, p.stream, c.apiError(ctx, err))
	}
	has := made.CachedInfo().Config
	if has.AckPolicy != jetstream.AckExplicitPolicy || has.DeliverSubject != "" {
		return "", 0, fmt.Errorf("consumer %s of stream %s is not a pull consumer with explicit acknowledgements; delete it, and one will be made", name, p.stream)
	}
	return name, has.AckWait, nil
}
