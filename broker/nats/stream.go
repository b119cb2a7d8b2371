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

// place is where a destination is on the server.
type place struct {
	name    string
	topic   bool
	subject string

	mu     sync.Mutex // held while the stream is looked for
	stream string     // its name; "" until it is found or made
	own    bool       // the stream is one that we make, for this destination alone
}

// target is a destination.
type target struct {
	name  string
	topic bool
}

// place returns where a destination is, as far as this connection knows.
func (c *conn) place(name string, topic bool) *place {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := target{name, topic}
	p := c.places[key]
	if p == nil {
		p = &place{name: name, topic: topic, subject: subject(name, topic, c.b.options.Prefix)}
		c.places[key] = p
	}
	return p
}

// forget makes the connection look again for a destination's stream, after the
// server has said that there is none.
func (c *conn) forget(p *place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := (target{p.name, p.topic}); c.places[key] == p {
		delete(c.places, key)
	}
}

// find sees to it that a place's stream is known, and makes it where it may.
func (c *conn) find(ctx context.Context, p *place) error {
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
		if c.b.options.NoCreate {
			return fmt.Errorf("no stream has the subject %s; make one, or allow it to be made", p.subject)
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

// exists says that a stream was not made since another has its name or subject.
func exists(err error) bool {
	const subjectsOverlap = 10065
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.As(err, &api) && api.ErrorCode == subjectsOverlap
}

// apiTimeout bounds what is asked of the server's management for one destination.
const apiTimeout = 10 * time.Second

// askTimeout is how long one request waits for its answer.
const askTimeout = 2 * time.Second

// ask asks the server's management, until ctx ends: a cluster that has lost its
// leader answers no request, and does not come back to it when it has another. What
// is asked may be asked twice.
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

// apiError says more about an error of JetStream's management.
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

// consumer makes or finds the consumer of a subscription, and returns its name and
// how long it waits for an acknowledgement.
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
