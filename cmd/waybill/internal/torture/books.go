package torture

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

// The business of a run: accounts between which money moves, orders whose state moves
// forward, and notices that are said once. The producer has its own tables of them, and
// so have the consumers, which make theirs from messages alone.
const (
	accounts       = 8192
	orders         = 48
	openingBalance = 1_000_000
)

// producerTables and consumerTables are the run's own, beside Waybill's. The
// consumer's "effect" takes every effect that comes, also one that came before or is
// stale: the inbox alone keeps those away. Its kind is "transfer",
// "notice", or the consumer of an order's state. {serial} is a key that counts up.
var (
	producerTables = []string{
		`CREATE TABLE {account} (id varchar(32) PRIMARY KEY, balance bigint NOT NULL)`,
		`CREATE TABLE {transfer} (id varchar(64) PRIMARY KEY, source varchar(32) NOT NULL, target varchar(32) NOT NULL, amount bigint NOT NULL, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {notice} (id varchar(64) PRIMARY KEY, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {orders} (id varchar(32) PRIMARY KEY, version bigint NOT NULL)`,
		`CREATE TABLE {order_state} (id varchar(32) NOT NULL, version bigint NOT NULL, token varchar(64) NOT NULL, message_id varchar(36) NOT NULL, PRIMARY KEY (id, version))`,
	}
	consumerTables = []string{
		`CREATE TABLE {book} (id varchar(32) PRIMARY KEY, balance bigint NOT NULL)`,
		`CREATE TABLE {held} (id varchar(32) PRIMARY KEY, version bigint NOT NULL, token varchar(64) NOT NULL)`,
		`CREATE TABLE {effect} (n {serial}, kind varchar(16) NOT NULL, ref varchar(64) NOT NULL, version bigint NOT NULL, token varchar(64) NOT NULL,
			message_id varchar(36) NOT NULL, sequence bigint NOT NULL, time_stamp bigint NOT NULL, attempt bigint NOT NULL, happened bigint NOT NULL, who varchar(64) NOT NULL)`,
		`CREATE INDEX {effect_index} (message_id)`,
	}
)

// books is one side's database.
type books struct {
	*sql.DB
	dialect store.Dialect
	kind    string // the scheme of its address
	prefix  string // of all tables of the run
}

// openBooks opens a database; its tables may not be there yet.
func openBooks(addr, prefix string) (*books, error) {
	db, dialect, err := address.OpenDatabase(addr)
	if err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(addr, ":")
	return &books{DB: db, dialect: dialect, kind: kind, prefix: prefix}, nil
}

// sql writes the tables' names and the dialect's placeholders into a statement.
func (b *books) sql(text string) string {
	var out strings.Builder
	n := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			end := i + strings.IndexByte(text[i:], '}')
			switch name := text[i+1 : end]; name {
			case "serial":
				out.WriteString(b.serial())
			case "effect_index":
				out.WriteString(b.effectIndex())
			default:
				out.WriteString(b.prefix + name)
			}
			i = end
		case c == '?' && strings.HasPrefix(b.kind, "postgres"):
			n++
			out.WriteString("$" + strconv.Itoa(n))
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func (b *books) serial() string {
	switch b.kind {
	case "mysql", "mariadb":
		return "bigint PRIMARY KEY AUTO_INCREMENT"
	case "sqlite":
		return "integer PRIMARY KEY AUTOINCREMENT"
	}
	return "bigserial PRIMARY KEY"
}

// effectIndex is an index's name and its table's. SQLite takes the schema before the
// one, the others before the other.
func (b *books) effectIndex() string {
	bare := b.prefix[strings.IndexByte(b.prefix, '.')+1:]
	if b.kind == "sqlite" {
		return b.prefix + "effect_id ON " + bare + "effect"
	}
	return bare + "effect_id ON " + b.prefix + "effect"
}

// make makes one side's tables, with Waybill's, and what is in them at the start. topic
// says that some orders are public.
func (b *books) make(ctx context.Context, side store.Side, topic bool) error {
	if err := store.Migrate(ctx, b.DB, b.dialect, b.prefix, side); err != nil {
		return err
	}
	tables, account := producerTables, "account"
	if side == store.Consumer {
		tables, account = consumerTables, "book"
	}
	for _, table := range tables {
		if _, err := b.ExecContext(ctx, b.sql(table)); err != nil {
			return fmt.Errorf("make the run's tables: %w", err)
		}
	}
	tx, err := b.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	const chunk = 512
	for first := 0; first < accounts; first += chunk {
		var values []any
		n := min(chunk, accounts-first)
		for i := range n {
			values = append(values, accountName(first+i), openingBalance)
		}
		if _, err := tx.ExecContext(ctx, b.sql(`INSERT INTO {`+account+`} (id, balance) VALUES `+placeholders(n, "(?, ?)")), values...); err != nil {
			return err
		}
	}
	for i := range orders {
		id := orderName(i, topic)
		if side == store.Producer {
			if _, err := tx.ExecContext(ctx, b.sql(`INSERT INTO {orders} (id, version) VALUES (?, 0)`), id); err != nil {
				return err
			}
			continue
		}
		if _, err := tx.ExecContext(ctx, b.sql(`INSERT INTO {held} (id, version, token) VALUES (?, 0, '')`), id); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// drop drops all tables of the run.
func (b *books) drop(ctx context.Context) error {
	names, err := store.NewNames(b.prefix)
	if err != nil {
		return err
	}
	tables := []string{names.Message, names.MessageKey, names.Relay, names.Once, names.Latest, names.Horizon, names.Versions}
	for _, own := range []string{"account", "transfer", "notice", "orders", "order_state", "book", "held", "effect"} {
		tables = append(tables, b.prefix+own)
	}
	for _, table := range tables {
		if _, err := b.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
			return fmt.Errorf("drop the run's tables: %w", err)
		}
	}
	if strings.HasPrefix(b.kind, "postgres") {
		if _, err := b.ExecContext(ctx, "DROP FUNCTION IF EXISTS "+names.SQL("{qmessage_fill}")+"()"); err != nil {
			return fmt.Errorf("drop the run's function: %w", err)
		}
	}
	return nil
}

// number asks for one number.
func (b *books) number(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = b.QueryRowContext(ctx, b.sql(query), args...).Scan(&n)
	return n, err
}

// each calls scan for each row of a query.
func (b *books) each(ctx context.Context, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := b.QueryContext(ctx, b.sql(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// placeholders are those of n rows.
func placeholders(n int, row string) string {
	return strings.TrimSuffix(strings.Repeat(row+", ", n), ", ")
}

func accountName(i int) string { return fmt.Sprintf("account-%04d", i) }

// orderName names an order. Where there is a topic, every other one is public: its
// states go there.
func orderName(i int, topic bool) string {
	if topic && i%2 == 1 {
		return fmt.Sprintf("public-%02d", i)
	}
	return fmt.Sprintf("order-%02d", i)
}

func isPublic(order string) bool { return strings.HasPrefix(order, "public-") }

// keeperOf is the consumer that keeps an order's latest state.
func keeperOf(order string) string {
	if isPublic(order) {
		return mirrorGroup
	}
	return latestGroup
}

// destinations are the run's queues and its topic.
type destinations struct {
	Transfers string
	Quick     string // transfers, too, that travel transient
	Orders    string
	Public    string // a topic: the public orders' states, for each of topicGroups
	Notices   string // whose rows go when the broker has confirmed: the classic outbox
}

func destinationsOf(run string) destinations {
	name := func(of string) string { return "torture." + run + "." + of }
	return destinations{Transfers: name("transfers"), Quick: name("quick"), Orders: name("orders"), Public: name("public"), Notices: name("notices")}
}
