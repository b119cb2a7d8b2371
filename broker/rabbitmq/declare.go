package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// declaration is a queue or exchange that this connection has made sure of, or is
// about to.
type declaration struct {
	done chan struct{} // closed when err is known
	err  error
}

// ensure makes the queue or exchange that a route leads through, once for each
// connection. Several callers at once wait for one declaration.
func (c *Conn) ensure(ctx context.Context, to route) error {
	if c.broker.options.NoDeclare {
		return nil
	}
	id := to.exchange + "\x00" + to.key
	c.mu.Lock()
	d := c.declared[id]
	if d == nil {
		if c.err != nil {
			defer c.mu.Unlock()
			return c.err
		}
		d = &declaration{done: make(chan struct{})}
		c.declared[id] = d
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

// undeclare forgets that a route is there.
func (c *Conn) undeclare(to route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.declared, to.exchange+"\x00"+to.key)
}

// onChannel runs f on a channel of its own: RabbitMQ ends a channel with an error.
func (l *link) onChannel(f func(*amqp.Channel) error) error {
	ch, err := l.amqp.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return f(ch)
}

func (b *Broker) declareQueue(l *link, name string) error {
	err := l.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, b.arguments)
		return err
	})
	if !mayExist(err) {
		return describe(err, "queue", name)
	}
	return describe(l.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	}), "queue", name)
}

func (b *Broker) declareExchange(l *link, name string) error {
	err := l.onChannel(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(name, amqp.ExchangeFanout, true, false, false, false, nil)
	})
	if !mayExist(err) {
		return describe(err, "exchange", name)
	}
	return describe(l.onChannel(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeFanout, true, false, false, false, nil)
	}), "exchange", name)
}

// bind makes what a group of a topic needs.
func (b *Broker) bind(l *link, topic, group string) error {
	if err := b.declareExchange(l, entity(topic)); err != nil {
		return err
	}
	queue := groupQueue(topic, group)
	if err := b.declareQueue(l, queue); err != nil {
		return err
	}
	return describe(l.onChannel(func(ch *amqp.Channel) error {
		return ch.QueueBind(queue, entity(topic), entity(topic), false, nil)
	}), "binding of the queue", queue)
}

// mayExist says whether a declaration failed in a way that leaves a queue or
// exchange that can be used: it has other arguments, or we may not make any.
func mayExist(err error) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Server && (said.Code == amqp.PreconditionFailed || said.Code == amqp.AccessRefused)
}

func describe(err error, what, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the %s %q: %w", what, name, err)
}

// saidByBroker says whether an error is the broker's own word and not the loss of a
// connection.
func saidByBroker(err error) bool {
	var said *amqp.Error
	return errors.As(err, &said) && said.Server && said.Recover
}
