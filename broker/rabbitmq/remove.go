package rabbitmq

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

var _ broker.Remover = (*conn)(nil)

// Remove deletes a queue, the queue of a topic's group, or the exchange of a topic. It may
// still do so after ctx has ended. See broker.Remover.
func (c *conn) Remove(ctx context.Context, s broker.Subscription) error {
	removed := make(chan error, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.running.Go(func() { removed <- c.remove(&s) }) // the library waits without a limit
	c.mu.Unlock()
	var err error
	select {
	case err = <-removed:
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.done:
		err = c.Err()
	}
	c.undeclare(routeTo(s.Destination, s.Topic))
	if err != nil {
		return fmt.Errorf("rabbitmq: remove %q: %w", s.Destination, err)
	}
	return nil
}

func (c *conn) remove(s *broker.Subscription) error {
	return c.publisher.onChannel(func(ch *amqp.Channel) (err error) {
		switch {
		case !s.Topic:
			_, err = ch.QueueDelete(entity(s.Destination), false, false, false)
		case s.Group != "":
			_, err = ch.QueueDelete(groupQueue(s.Destination, s.Group), false, false, false)
		default:
			err = ch.ExchangeDelete(entity(s.Destination), false, false)
		}
		return err
	})
}
