package stomp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

var _ broker.Remover = (*conn)(nil)

// Remove ends the durable subscription of a topic's group. STOMP has no way to remove a
// queue or a topic: Artemis does that by itself when no message is left, Classic where it
// is set up to (gcInactiveDestinations). See broker.Remover.
func (c *conn) Remove(ctx context.Context, sub broker.Subscription) error {
	if !sub.Topic || sub.Group == "" {
		return fmt.Errorf("stomp: remove %q: only a topic's durable subscription can be removed: %w", sub.Destination, errors.ErrUnsupported)
	}
	s, err := c.open(ctx, jmsbroker.ClientID(&sub), nil)
	if err != nil {
		return fmt.Errorf("stomp: remove the subscription of %q: %w", sub.Destination, err)
	}
	defer func() {
		if c.sockets.Forget(s) {
			s.close(ctx)
		}
		s.running.Wait()
	}()
	name := "activemq.subscriptionName"
	if s.kind == jmsbroker.Artemis {
		name = "durable-subscription-name"
	}
	err = s.ask(ctx, frame.New(frame.UNSUBSCRIBE, frame.Id, subscriptionID, name, jmsbroker.Name(sub.Destination)))
	if err != nil && !isNoSubscription(err) {
		return fmt.Errorf("stomp: remove the subscription of %q: %w", sub.Destination, err)
	}
	return nil
}

// isNoSubscription reports whether the broker, Classic or Artemis, says that there was no
// such subscription.
func isNoSubscription(err error) bool {
	var said *BrokerError
	if !errors.As(err, &said) {
		return false
	}
	text := strings.ToLower(said.Message)
	return strings.Contains(text, "no durable subscription exists") || strings.Contains(text, "cannot find subscription")
}
