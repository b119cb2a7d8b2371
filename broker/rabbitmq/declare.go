package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// declaration is a queue or an exchange that this connection has declared, or is about to.
type declaration struct {
	done chan struct{} // closed when err is known
	err  error
}

// maxDeclared is how many declarations are remembered at least. Any other one is made again.
const maxDeclared = 10_000

// ensure declares the queue or exchange of a route, once for each connection. Several
// callers at the same time wait for one declaration.
func (c *conn) ensure(ctx context.Context, to route) error {
	if c.broker.options.NoDeclare {
		return nil
	}
	id := to.exchange + "\x00" + to.key
	c.mu.Lock()
	d, ok := c.declared.Get(id)
	if !ok {
		if c.err != nil {
			defer c.mu.Unlock()
			return c.err
		}
		d = &declaration{done: make(chan struct{})}
		c.declared.Set(id, d)
		c.running.Go(func() {
			c.declaring.Lock()
			defer c.declaring.Unlock()
			if to.exchange != "" {
				d.err = c.broker.declareExchange(c.publisher, to.exchange)
			} else {
				d.err = c.broker.declareQueue(c.publisher, to.key)
			}
			if d.err != nil {
				c.undeclare(to) // to try again with the next message
			}
			close(d.done)
		})
	}
	c.mu.Unlock()
	select {
	case <-d.done:
		return d.err
	default:
	}
	ctx, cancel := c.publisher.unblocked(ctx)
	defer cancel()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.Err()
	}
}

// exists notes that the queue or exchange of a route is there: a message has reached it.
func (c *conn) exists(to route) {
	id := to.exchange + "\x00" + to.key
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.declared.Get(id); !ok {
		d := &declaration{done: make(chan struct{})}
		close(d.done)
		c.declared.Set(id, d)
	}
}

// undeclare forgets a declaration, so that the next message makes another.
func (c *conn) undeclare(to route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.declared.Delete(to.exchange + "\x00" + to.key)
}

// onChannel calls f with a channel of its own: RabbitMQ ends a channel over an error.
func (s *socket) onChannel(f func(*amqp.Channel) error) error {
	ch, err := s.amqp.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return f(ch)
}

// declareQueue makes a queue where it does not exist.
func (b *Broker) declareQueue(s *socket, name string) error {
	err := s.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, b.arguments)
		return err
	})
	if !mayExist(err) {
		return describe(err, "queue", name)
	}
	return describe(s.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	}), "queue", name)
}

// declareExchange makes the exchange of a topic where it does not exist.
func (b *Broker) declareExchange(s *socket, name string) error {
	err := s.onChannel(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil)
	})
	if !mayExist(err) {
		return describe(err, "exchange", name)
	}
	return describe(s.onChannel(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeFanout, true, false, false, false, nil)
	}), "exchange", name)
}

// bind makes the exchange of a topic and the queue of a group, and binds the two.
func (b *Broker) bind(s *socket, topic, group string) error {
	if err := b.declareExchange(s, entity(topic)); err != nil {
		return err
	}
	queue := groupQueue(topic, group)
	if err := b.declareQueue(s, queue); err != nil {
		return err
	}
	return describe(s.onChannel(func(ch *amqp.Channel) error {
		return ch.QueueBind(queue, entity(topic), entity(topic), false, nil)
	}), "binding of the queue", queue)
}

// mayExist reports whether a declaration has failed in a way in which a queue or exchange
// may exist that can be used: with other arguments, or where we may not make any.
func mayExist(err error) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Server && (said.Code == amqp.PreconditionFailed || said.Code == amqp.AccessRefused)
}

// describe adds to an error what it is about.
func describe(err error, what, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the %s %q: %w", what, name, err)
}

// saidByBroker reports whether an error is the broker's answer, and not the loss of a
// connection.
func saidByBroker(err error) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Server && said.Recover
}
