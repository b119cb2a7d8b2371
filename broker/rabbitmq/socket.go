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

// socket is one network connection after its handshake.
type socket struct {
	conn *bufferedConn // beneath amqp
	amqp *amqp.Connection

	mu      sync.Mutex
	blocked error         // why the broker blocks publishers now; nil where it does not
	stalled chan struct{} // closed while it has blocked them for longer than blockPatience
}

// blockPatience is how long a broker may block publishers before they stop waiting for
// confirmations.
const blockPatience = time.Second

// open opens a network connection and logs in.
func (b *Broker) open(ctx context.Context) (*socket, error) {
	raw, err := b.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: connect to %s: %w", b.target.Address, err)
	}
	s := &socket{conn: newBufferedConn(raw), stalled: make(chan struct{})}
	stop := context.AfterFunc(ctx, s.conn.kill)
	s.amqp, err = b.login(s.conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.conn.kill()
		<-s.conn.done
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("rabbitmq: connect to %s: %w", b.target.Address, err)
	}
	return s, nil
}

// login does the handshake of AMQP.
func (b *Broker) login(conn *bufferedConn) (*amqp.Connection, error) {
	login := &login{user: "guest", password: "guest", properties: amqp.NewConnectionProperties()}
	if b.target.HasUser {
		login.user, login.password = b.target.User, b.target.Password
	}
	login.properties["connection_name"] = b.options.Name
	c, err := amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{login}, Vhost: b.vhost, Locale: "en_US",
		Heartbeat: b.options.HeartBeat, ChannelMax: uint16(b.options.ChannelMax), Properties: login.properties,
	})
	if err == nil {
		// The library sets the first deadline when the first frame comes.
		_ = conn.SetReadDeadline(time.Now().Add(c.Config.Heartbeat * 3 / 2))
		if c.Config.ChannelMax < leastChannels {
			return nil, fmt.Errorf("the broker's channel_max is %d; waybill needs %d", c.Config.ChannelMax, leastChannels)
		}
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
	if broken := conn.reason(); broken != nil {
		return nil, fmt.Errorf("log in: %w", broken)
	}
	return nil, errors.New("log in: the connection broke")
}

// refusal adds broker.ErrRefused to the broker's error at login, where trying again cannot
// help.
func refusal(said *amqp.Error) error {
	switch {
	case strings.Contains(said.Reason, "limit"):
		return said // of connections of a user or a virtual host; it may have room later
	case said.Code == amqp.AccessRefused, said.Code == amqp.NotAllowed:
		return fmt.Errorf("%w: %w", broker.ErrRefused, said)
	}
	return said
}

// login is PLAIN authentication. It also asks the broker to say when a login has failed;
// otherwise it would hang up and say nothing. It does that in Response because the library
// sets the capabilities, without this one, just before it calls that.
type login struct {
	user, password string
	properties     amqp.Table
}

// Mechanism is the name of the authentication.
func (*login) Mechanism() string { return "PLAIN" }

// Response is what PLAIN sends.
func (l *login) Response() string {
	if capabilities, ok := l.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return "\x00" + l.user + "\x00" + l.password
}

// watch notes when the broker blocks publishers, and calls ended with the reason when the
// network connection has ended.
func (s *socket) watch(ended func(error)) {
	closes := s.amqp.NotifyClose(make(chan *amqp.Error, 1))
	blocks := s.amqp.NotifyBlocked(make(chan amqp.Blocking, 1))
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
				s.block(&blockedError{b.Reason})
				stall.Reset(blockPatience)
			default:
				s.block(nil)
				stall.Stop()
			}
		case <-stall.C:
			s.stall()
		case err, ok := <-closes:
			if ok {
				last = err
				continue
			}
			s.conn.kill()
			<-s.conn.done
			ended(s.reason(last))
			return
		}
	}
}

// blockedError is the reason of what fails because the broker blocks publishers.
type blockedError struct{ reason string }

func (e *blockedError) Error() string {
	return "rabbitmq: the broker blocks publishers: " + e.reason
}

// unblocked returns a context that also ends when the broker has blocked publishers for
// longer than blockPatience; the cause is the broker's reason.
func (s *socket) unblocked(ctx context.Context) (context.Context, context.CancelFunc) {
	stalled, _ := s.blockade()
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-stalled:
			_, err := s.blockade()
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// block notes why the broker blocks publishers, or with nil that it no longer does.
func (s *socket) block(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked = why
	select {
	case <-s.stalled:
		s.stalled = make(chan struct{})
	default:
	}
}

// stall tells the publishers that they have been blocked for longer than blockPatience.
func (s *socket) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stalled:
	default:
		close(s.stalled)
	}
}

// blockade returns an error while the broker blocks publishers, and a channel that is
// closed when it has done so for longer than blockPatience.
func (s *socket) blockade() (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled, s.blocked
}

// reason is why the network connection has ended, where the library's error is err.
func (s *socket) reason(err *amqp.Error) error {
	broken := s.conn.reason()
	var timeout net.Error
	switch {
	case err != nil && err.Server:
		return fmt.Errorf("rabbitmq: the broker ended the connection: %w", err)
	case errors.As(broken, &timeout) && timeout.Timeout():
		return fmt.Errorf("rabbitmq: nothing came from the broker for a heart-beat and a half: %w", broken)
	case broken != nil:
		return fmt.Errorf("rabbitmq: the connection broke: %w", broken)
	case err != nil:
		return fmt.Errorf("rabbitmq: the connection broke: %w", err)
	}
	return errors.New("rabbitmq: the connection has ended")
}

// close ends the connection when the broker has answered that it has read everything, or
// at the deadline.
func (s *socket) close(deadline time.Time) {
	_ = s.amqp.CloseDeadline(deadline) // it is closed either way
}
