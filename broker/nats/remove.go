package nats

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker"
)

var _ broker.Remover = (*conn)(nil)

// Remove deletes the stream of a queue or a topic, or the consumer of a group. Of a stream
// that was not made for this destination alone, which is the user's, it deletes only the
// consumer. See broker.Remover.
func (c *conn) Remove(ctx context.Context, s broker.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	p := c.place(s.Destination, s.Topic)
	defer c.forget(p)
	name, err := ask(ctx, func(ctx context.Context) (string, error) { return c.js.StreamNameBySubject(ctx, p.subject) })
	if err == nil {
		err = c.remove(ctx, name, &s)
	}
	if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	return fmt.Errorf("nats: remove %q: %w", s.Destination, c.apiError(ctx, err))
}

// remove deletes what s asks for of a stream.
func (c *conn) remove(ctx context.Context, stream string, s *broker.Subscription) error {
	own := stream == streamName(s.Destination, s.Topic, c.b.options.Prefix)
	_, err := ask(ctx, func(ctx context.Context) (struct{}, error) {
		switch {
		case own && (!s.Topic || s.Group == ""):
			return struct{}{}, c.js.DeleteStream(ctx, stream)
		case s.Topic && s.Group == "":
			return struct{}{}, nil
		}
		group := s.Group
		if !s.Topic {
			group = ""
		}
		return struct{}{}, c.js.DeleteConsumer(ctx, stream, groupName(group, &place{name: s.Destination, own: own}))
	})
	return err
}
