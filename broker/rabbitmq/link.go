package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

// link is one network connection after its handshake.
type link struct {
	wire *wire
	amqp *amqp.Connection

	mu      sync.Mutex
	blocked error         // why the broker blocks publishers now; nil where it does not
	stalled chan struct{} // closed while it has done so for longer than patience
}

// patience is how long a broker may block publishers before they stop waiting for
// confirmations.
const patience = time.Second

// open opens a network connection and logs in.
func (b *Broker) open(ctx context.Context) (*link, error) {
	conn, err := b.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: connect to %s: %w", b.target.Address, err)
	}
	w := newWire(conn)
	stop := context.AfterFunc(ctx, w.kill)
	l := &link{wire: w, stalled: make(chan struct{})}
	l.amqp, err = b.login(w)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.kill()
		<-w.done
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("rabbitmq: connect to %s: %w", b.target.Address, err)
	}
	return l, nil
}

func (b *Broker) login(w *wire) (*amqp.Connection, error) {
	login := &login{user: "guest", password: "guest", properties: amqp.NewConnectionProperties()}
	if b.target.HasUser {
		login.user, login.password = b.target.User, b.target.Password
	}
	login.properties["connection_name"] = b.options.Name
	c, err := amqp.Open(w, amqp.Config{
		SASL: []amqp.Authentication{login}, Vhost: b.vhost, Locale: "en_US",
		Heartbeat: b.options.HeartBeat, Properties: login.properties,
	})
	if err == nil {
		// The library sets the first deadline when the first frame comes.
		_ = w.SetReadDeadline(time.Now().Add(c.Config.Heartbeat * 3 / 2))
		return c, nil
	}
	var said *amqp.Error
	switch {
	case errors.Is(err, amqp.ErrSASL):
		return nil, fmt.Errorf("%w: the broker does not let anybody in by PLAIN", broker.ErrRefused)
	case errors.As(err, &said) && said.Server:
		return nil, refusal(said)
	}
	// The library takes a connection that breaks here for a wrong password.
	if lost := w.reason(); lost != nil {
		return nil, fmt.Errorf("log in: %w", lost)
	}
	return nil, errors.New("log in: the connection broke")
}

// refusal adds broker.ErrRefused to the broker's word at login, where trying again
// cannot help.
func refusal(said *amqp.Error) error {
	switch {
	case strings.Contains(said.Reason, "limit"):
		return said // a limit of connections, of a user or a virtual host, may have room again
	case said.Code == amqp.AccessRefused, said.Code == amqp.NotAllowed:
		return fmt.Errorf("%w: %w", broker.ErrRefused, said)
	}
	return said
}

// login is PLAIN authentication. It asks the broker to say that a login failed,
// where it would otherwise hang up without a word: the library announces other
// capabilities just before it asks for the response, and not this one.
type login struct {
	user, password string
	properties     amqp.Table
}

// Mechanism is PLAIN.
func (*login) Mechanism() string { return "PLAIN" }

// Response is what PLAIN sends.
func (l *login) Response() string {
	if capabilities, ok := l.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return "\x00" + l.user + "\x00" + l.password
}

// watch follows the link until it ends, and tells why.
func (l *link) watch(ended func(error)) {
	closes := l.amqp.NotifyClose(make(chan *amqp.Error, 1))
	blocks := l.amqp.NotifyBlocked(make(chan amqp.Blocking, 1))
	stall := time.NewTimer(0)
	stall.Stop()
	defer stall.Stop()
	var last *amqp.Error
	for {
		select {
		case b, ok := <-blocks:
			switch {
			case !ok:
				blocks = nil
			case b.Active:
				l.block(&blockedError{b.Reason})
				stall.Reset(patience)
			default:
				l.block(nil)
				stall.Stop()
			}
		case <-stall.C:
			l.stall()
		case err, ok := <-closes:
			if ok {
				last = err
				continue
			}
			l.wire.kill()
			<-l.wire.done
			ended(l.reason(last))
			return
		}
	}
}

// blockedError is the reason for what is not done while the broker blocks publishers.
type blockedError struct{ reason string }

func (e *blockedError) Error() string {
	return "rabbitmq: the broker blocks publishers: " + e.reason
}

// unblocked returns a context that also ends, with the reason as its cause, while the
// broker blocks publishers for long.
func (l *link) unblocked(ctx context.Context) (context.Context, context.CancelFunc) {
	stalled, _ := l.blockade()
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-stalled:
			_, err := l.blockade()
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// block notes that the broker blocks publishers, or, with nil, that it does not any
// more.
func (l *link) block(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = why
	select {
	case <-l.stalled:
		l.stalled = make(chan struct{})
	default:
	}
}

// stall tells the publishers that it has gone on for long.
func (l *link) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stalled:
	default:
		close(l.stalled)
	}
}

// blockade is an error while the broker blocks publishers, and a channel that is
// closed when that goes on for long.
func (l *link) blockade() (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled, l.blocked
}

// reason makes the error of a link that has ended.
func (l *link) reason(err *amqp.Error) error {
	lost := l.wire.reason()
	var timeout net.Error
	switch {
	case err != nil && err.Server:
		return fmt.Errorf("rabbitmq: the broker ended the connection: %w", err)
	case errors.As(lost, &timeout) && timeout.Timeout():
		return fmt.Errorf("rabbitmq: nothing came from the broker for a heart-beat and a half: %w", lost)
	case lost != nil:
		return fmt.Errorf("rabbitmq: the connection broke: %w", lost)
	case err != nil:
		return fmt.Errorf("rabbitmq: the connection broke: %w", err)
	}
	return errors.New("rabbitmq: the connection has ended")
}

// close says goodbye until the deadline, so that the broker has read everything.
func (l *link) close(deadline time.Time) {
	_ = l.amqp.CloseDeadline(deadline) // it is closed either way
}
