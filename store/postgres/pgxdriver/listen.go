package pgxdriver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-go/waybill/internal/redact"
)

// closing bounds the time that a listener's connection takes to say goodbye.
const closing = 5 * time.Second

// Listen opens a connection of its own, listens on channel (postgres.Channel names
// the one of a table prefix) and calls notify once as soon as it listens, since a
// notification may have been missed before, and then for each one. It blocks until
// ctx ends, when it returns nil, or until the connection breaks, when it returns why;
// to connect again, and to wait in between, is the caller's business. notify is
// called on this goroutine and must not block.
//
// The connection has to reach the server itself: a pooler that lends connections
// for one transaction at a time loses notifications. Where the address leads to one,
// Listen returns an error that matches errors.ErrUnsupported.
func Listen(ctx context.Context, connString, channel string, notify func()) error {
	err := listen(ctx, connString, channel, notify)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func listen(ctx context.Context, connString, channel string, notify func()) error {
	// What pgx says of an address repeats it, and does not find every password in one that
	// is wrong.
	conn, err := connect(ctx, connString)
	if err != nil {
		return fmt.Errorf("waybill: listen on %q: %w", channel, redact.Error(connString, err))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if pooled, err := BehindPooler(ctx, conn.PgConn()); err != nil {
		return fmt.Errorf("waybill: listen on %q: %w", channel, err)
	} else if pooled {
		return fmt.Errorf("waybill: listen on %q: the address leads to a pooler, which loses notifications; polling does without them: %w", channel, errors.ErrUnsupported)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("waybill: listen on %q: %w", channel, err)
	}
	for {
		notify()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("waybill: listen on %q: %w", channel, err)
		}
	}
}

func connect(ctx context.Context, connString string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // the outer one repeats the address
		}
		return nil, fmt.Errorf("the address cannot be read: %w", err)
	}
	return pgx.ConnectConfig(ctx, config)
}

// Listener returns Listen for one server and channel, in the form that
// relay.Options.Listen takes.
func Listener(connString, channel string) func(ctx context.Context, notify func()) error {
	return func(ctx context.Context, notify func()) error {
		return Listen(ctx, connString, channel, notify)
	}
}
