package stomp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// handshake opens a network connection and logs in. client is the client id, for a
// durable subscription of a topic, or empty.
func (b *Broker) handshake(ctx context.Context, client string) (*socket, error) {
	conn, err := b.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("stomp: connect to %s: %w", b.target.Address, err)
	}
	conn.SetReadDeadline(time.Now().Add(b.answerTime))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	s, err := b.login(conn, client)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	conn.SetReadDeadline(time.Time{})
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("stomp: connect to %s: %w", b.target.Address, err)
	}
	return s, nil
}

// login sends CONNECT and reads the broker's answer.
func (b *Broker) login(conn net.Conn, client string) (*socket, error) {
	// No version of STOMP escapes the headers of CONNECT, which the codec would do. Values
	// with a line break cannot be sent at all.
	beat := strconv.FormatInt(b.heartBeat.Milliseconds(), 10)
	headers := []string{"accept-version", "1.2", "host", b.target.Host, "heart-beat", beat + "," + beat}
	if b.target.HasUser {
		headers = append(headers, "login", b.target.User, "passcode", b.target.Password)
	}
	if client = cmp.Or(client, jmsbroker.ConnectionID(b.name)); client != "" {
		headers = append(headers, "client-id", client)
	}
	var text strings.Builder
	text.WriteString("CONNECT\n")
	for i := 0; i < len(headers); i += 2 {
		if strings.ContainsAny(headers[i+1], "\r\n\x00") {
			return nil, fmt.Errorf("%w: the %s holds a control character", broker.ErrRefused, headers[i])
		}
		text.WriteString(headers[i] + ":" + headers[i+1] + "\n")
	}
	text.WriteString("\n\x00")
	if _, err := conn.Write([]byte(text.String())); err != nil {
		return nil, dial.Refused(err)
	}

	// One byte at a time: what follows the answer belongs to the socket's reader.
	reader := newFrameReader(oneByte{conn}, 16)
	var f *frame.Frame
	for f == nil {
		var err error
		if f, err = reader.read(); err != nil {
			return nil, dial.Refused(dial.NoAnswer(err, b.answerTime, "STOMP"))
		}
	}
	s := &socket{
		conn: conn, redact: b.target.Redact,
		out: make(chan *batch), done: make(chan struct{}), waiters: map[string]*waiter{},
	}
	if f.Command != frame.CONNECTED {
		return nil, refusal(s.brokerError(f))
	}
	if version := f.Header.Get(frame.Version); version != "1.2" {
		return nil, fmt.Errorf("%w: the broker speaks STOMP %.10q and not 1.2", broker.ErrRefused, version)
	}
	s.kind = jmsbroker.ProductKind(f.Header.Get(frame.Server))
	if s.kind == jmsbroker.Any {
		s.kind = b.kind
	}
	if theirs := f.Header.Get(frame.HeartBeat); theirs != "" {
		sends, wants, err := frame.ParseHeartBeat(theirs)
		if err != nil {
			return nil, fmt.Errorf("the broker's heart-beat header: %w", err)
		}
		if sends > 0 {
			s.readWithin = max(sends, b.heartBeat) * 5 / 2
		}
		if wants > 0 {
			// The writer may let up to two of its intervals pass without a heart-beat.
			s.writeEvery = max(wants, b.heartBeat) / 3
		}
	}
	return s, nil
}

// oneByte keeps a buffered reader from reading ahead.
type oneByte struct{ conn net.Conn }

func (r oneByte) Read(p []byte) (int, error) { return r.conn.Read(p[:1]) }

// refusal adds broker.ErrRefused to a broker's answer to CONNECT where another try cannot
// help, which is when it has to do with the credentials.
func refusal(err error) error {
	var said *BrokerError
	if !errors.As(err, &said) {
		return err
	}
	text := strings.ToLower(said.Message)
	for _, word := range []string{"password", "security", "authenticat", "not authorized", "credential", "login", "permission"} {
		if strings.Contains(text, word) {
			return fmt.Errorf("%w: %w", broker.ErrRefused, err)
		}
	}
	return err
}
