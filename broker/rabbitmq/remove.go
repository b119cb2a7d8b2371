package rabbitmq

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

var _ broker.Remover = (*Conn)(nil)

// Remove deletes a queue, the queue of a topic's group, or a topic's exchange. See
// broker.Remover.
func (c *Conn) Remove(ctx context.Context, s broker.Subscription) error {
	if err := c.Err(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.undeclare(routeTo(s.Destination, s.Topic))
	err := c.publisher.onChannel(func(ch *amqp.Channel) (err error) {
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
	if err != nil {
		return fmt.Errorf("rabbitmq: remove %q: %w", s.Destination, err)
	}
	return nil
}
