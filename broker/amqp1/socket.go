package amqp1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// socket is one network connection with its one session.
type socket struct {
	conn     *amqp.Conn
	session  *amqp.Session
	buffered *bufferedConn  // beneath conn
	kind     jmsbroker.Kind // the broker's own word, or else the address'
}

// dial opens a network connection, logs in and begins a session. container is the
// container id, for a durable subscription of a topic, or empty for one of its own.
func (b *Broker) dial(ctx context.Context, container string) (*socket, error) {
	raw, err := b.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, err)
	}
	s := &socket{buffered: newBufferedConn(raw, b.idleTimeout, b.answerTime)}
	options := &amqp.ConnOptions{
		ContainerID: cmp.Or(container, jmsbroker.ConnectionID(b.name)),
		HostName:    b.target.Host,
		IdleTimeout: b.idleTimeout,
		SASLType: func(c *amqp.Conn) error {
			// Where several are possible, the broker's order decides.
			if b.target.HasUser {
				return amqp.SASLTypePlain(b.target.User, b.target.Password)(c)
			}
			if b.target.Query.Get("cert") != "" {
				if err := amqp.SASLTypeExternal("")(c); err != nil {
					return err
				}
			}
			return amqp.SASLTypeAnonymous()(c)
		},
	}
	if s.conn, err = amqp.NewConn(ctx, s.buffered, options); err != nil {
		raw.Close()
		return nil, b.refusal(ctx, cmp.Or(s.buffered.stranger, err))
	}
	if s.session, err = s.conn.NewSession(ctx, nil); err != nil {
		s.conn.Close()
		return nil, b.refusal(ctx, err)
	}
	product, _ := s.conn.Properties()["product"].(string)
	if s.kind = jmsbroker.ProductKind(product); s.kind == jmsbroker.Any {
		s.kind = b.kind
	}
	return s, nil
}

// refusal wraps an error of the opening so that it matches broker.ErrRefused where
// another try cannot help.
func (b *Broker) refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, ctx.Err())
	}
	refused := errors.Is(err, broker.ErrRefused)
	var said *amqp.Error
	if errors.As(err, &said) && (said.Condition == amqp.ErrCondUnauthorizedAccess || said.Condition == amqp.ErrCondNotAllowed) {
		refused = true
	}
	for outcome, meaning := range outcomes {
		if strings.Contains(err.Error(), outcome) {
			refused = true
			err = fmt.Errorf("%s (%s)", meaning, strings.TrimRight(err.Error(), ": "))
		}
	}
	err = dial.Refused(err)
	if refused && !errors.Is(err, broker.ErrRefused) {
		err = fmt.Errorf("%w: %w", broker.ErrRefused, err)
	}
	return fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, err)
}

// outcomes are those of SASL that another try cannot help, by the library's words for them: it
// has nothing else, and brokers add nothing.
var outcomes = map[string]string{
	"auth failed with code 0x1":   "the broker does not accept the user and the password",
	"auth failed with code 0x3":   "the broker cannot log anybody in, and says that this will not pass",
	"no supported auth mechanism": "the broker offers no way to log in that the address has the credentials for",
}

// failure is why the connection has ended.
func (s *socket) failure() error {
	if err := s.conn.Err(); err != nil {
		return fmt.Errorf("amqp1: %w", err)
	}
	return broker.ErrClosed
}

// close ends the session and then the connection. The broker answers the end of the
// session when it has read all that was sent before, such as acknowledgements. Links are
// detached with their session and not closed: a durable subscription stays.
func (s *socket) close(ctx context.Context) {
	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = s.session.Close(polite)
	s.conn.Close()
}
