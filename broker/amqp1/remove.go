package amqp1

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

var _ broker.Remover = (*conn)(nil)

// Remove ends the durable subscription of a topic's group, by closing its link. AMQP 1.0
// has no way to remove a queue or a topic: Artemis does that by itself when no message is
// left, Classic where it is set up to (gcInactiveDestinations). See broker.Remover.
func (c *conn) Remove(ctx context.Context, sub broker.Subscription) error {
	if !sub.Topic || sub.Group == "" {
		return fmt.Errorf("amqp1: remove %q: only a topic's durable subscription can be removed: %w", sub.Destination, errors.ErrUnsupported)
	}
	s, err := c.open(ctx, jmsbroker.ClientID(&sub))
	if err != nil {
		return fmt.Errorf("amqp1: remove the subscription of %q: %w", sub.Destination, err)
	}
	defer func() {
		if c.sockets.Forget(s) {
			s.close(ctx)
		}
	}()
	r := &receiver{conn: c, socket: s, subscription: sub}
	if err = r.attach(ctx); err == nil {
		err = r.link.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("amqp1: remove the subscription of %q: %w", sub.Destination, err)
	}
	return nil
}
