package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// consume consumes until ctx ends. The handlers take every effect that comes, also
// one that came before or is stale: the inbox alone keeps those away. On a rough journey
// there is another consumer beside, of news, which comes late.
func (p *part) consume(ctx context.Context) error {
	depot, err := p.depot()
	if err != nil || !p.rough {
		return errors.Join(err, runAll(ctx, depot))
	}
	auditor, err := p.auditor()
	if err != nil {
		return err
	}
	return runAll(ctx, depot, func(ctx context.Context) error {
		select {
		case <-time.After(400 * time.Millisecond): // the relay is not to wait for it
			return auditor(ctx)
		case <-ctx.Done():
			return nil
		}
	})
}

// runAll runs until ctx or one of them ends.
func runAll(ctx context.Context, all ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(all))
	for _, run := range all {
		go func() {
			defer stop()
			ended <- run(ctx)
		}()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// auditor is another consumer of news, which fails with some of them at first.
func (p *part) auditor() (func(context.Context) error, error) {
	in, err := inbox.New(p.db, sqlite.Dialect(), p.broker, &inbox.Options{Consumer: "auditor"})
	if err != nil {
		return nil, err
	}
	in.HandleWith("news", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if strings.HasPrefix(string(m.Body), "0 ") && m.Failures == 0 {
			return errors.New("not at first")
		}
		return effect(ctx, tx, `INSERT INTO news_effects (id) VALUES (?)`, "auditor "+string(m.Body))
	}, &inbox.HandleOptions{Topic: true})
	return in.Run, nil
}

// depot is the consumer of everything.
func (p *part) depot() (func(context.Context) error, error) {
	in, err := inbox.New(p.db, sqlite.Dialect(), p.broker, &inbox.Options{
		Consumer: "depot", Retention: time.Hour, PruneEvery: 30 * time.Millisecond, PausesEvery: 20 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	if p.rough {
		if err := p.keep(); err != nil {
			return nil, err
		}
		in.HandleWith("news", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			return effect(ctx, tx, `INSERT INTO news_effects (id) VALUES (?)`, "depot "+string(m.Body))
		}, &inbox.HandleOptions{Topic: true})
	}
	in.Handle("payments", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		return effect(ctx, tx, `INSERT INTO payment_effects (id) VALUES (?)`, string(m.Body))
	})
	in.Handle("orders", waybill.Latest, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		var version int
		var token string
		if _, err := fmt.Sscanf(string(m.Body), "%d %s", &version, &token); err != nil {
			return waybill.Permanent(err)
		}
		return effect(ctx, tx, `INSERT INTO order_effects (id, version, token) VALUES (?, ?, ?)`, m.Key, version, token)
	})
	in.HandleWith("trouble", waybill.Once, trouble, &inbox.HandleOptions{MaxTries: 3, Breaker: breaker})
	return in.Run, nil
}

// keep keeps a message, once, which is to be handled again.
func (p *part) keep() error {
	ctx := context.Background()
	ledger, err := store.NewLedger(p.db, sqlite.Dialect(), "", "depot")
	if err != nil {
		return err
	}
	defer ledger.CloseIdle()
	return ledger.Keep(ctx, []store.Kept{{
		MessageID: waybill.NewID(), Destination: "trouble", Delivery: "kept by hand", Headers: `{}`, Body: []byte("foreign and kept"),
	}}, []time.Duration{0})
}

func effect(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	_, err := tx.ExecContext(ctx, query, args...)
	return err
}

// trouble does a message's effect, and fails afterwards as the message says.
func trouble(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	if err := effect(ctx, tx, `INSERT INTO trouble_effects (id) VALUES (?)`, string(m.Body)); err != nil {
		return err
	}
	kind, _, _ := strings.Cut(string(m.Body), " ")
	switch {
	case kind == "reject":
		return waybill.Permanent(errors.New("as the message says"))
	case kind == "retry" && m.Failures == 0:
		// Of some other database: it does not tell whether this one is there.
		return fmt.Errorf("as the message says, at first: %w", driver.ErrBadConn)
	case kind == "retry" && m.Failures == 1:
		// It fails when the transaction commits.
		return effect(ctx, tx, `INSERT INTO parts (whole) VALUES ('none')`)
	case kind == "later":
		return waybill.RetryAfter(time.Hour, errors.New("as the message says"))
	case kind == "foreign":
		return errors.New("as the message says, always")
	}
	return nil
}
