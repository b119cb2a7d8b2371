package amqp1

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

var _ broker.Remover = (*Conn)(nil)

// Remove ends the durable subscription of a topic's group, which is what closing its
// link means. AMQP 1.0 cannot remove a queue or a topic: Artemis does so by itself where
// none of its messages is left, Classic where it is set up to (gcInactiveDestinations).
// See broker.Remover.
func (c *Conn) Remove(ctx context.Context, sub broker.Subscription) error {
	if !sub.Topic || sub.Group == "" {
		return fmt.Errorf("amqp1: remove %q: only a topic's durable subscription can be removed: %w", sub.Destination, errors.ErrUnsupported)
	}
	w, err := c.open(ctx, jmsbroker.ClientID(&sub))
	if err != nil {
		return fmt.Errorf("amqp1: remove the subscription of %q: %w", sub.Destination, err)
	}
	defer func() {
		if c.wires.Forget(w) {
			w.close(ctx)
		}
	}()
	r := &Receiver{conn: c, wire: w, subscription: sub}
	if err = r.attach(ctx); err == nil {
		err = r.link.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("amqp1: remove the subscription of %q: %w", sub.Destination, err)
	}
	return nil
}
