package pgxdriver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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
	return listen(ctx, func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := connect(ctx, connString)
		// What pgx says of an address repeats it, and does not find every password in one
		// that is wrong.
		return conn, redact.Error(connString, err)
	}, channel, notify)
}

func listen(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), channel string, notify func()) error {
	err := listenOn(ctx, connect, channel, notify)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func listenOn(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), channel string, notify func()) error {
	conn, err := connect(ctx)
	if err != nil {
		return fmt.Errorf("waybill: listen on %q: %w", channel, err)
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

// PoolListener is Listener with the address, the credentials and the BeforeConnect of a
// pool. Its connection is one beside the pool's: it takes none of MaxConns, and waits for none.
func PoolListener(pool *pgxpool.Pool, channel string) func(ctx context.Context, notify func()) error {
	return func(ctx context.Context, notify func()) error {
		return listen(ctx, func(ctx context.Context) (*pgx.Conn, error) {
			config := pool.Config()
			if config.BeforeConnect != nil {
				if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
					return nil, err
				}
			}
			conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
			return conn, redact.Error(config.ConnString(), err)
		}, channel, notify)
	}
}
