package torture

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

// The workload of a run is about accounts between which money moves, orders whose state
// moves forward, parcels, which have to arrive as they are, errands, of which an end is foreign, and notices, which are told once. The producers have tables of them, and
// so have the consumers, which make theirs from messages alone.
const (
	accounts       = 8192
	orders         = 48
	openingBalance = 1_000_000
)

// producerTables and consumerTables are the application's, beside Waybill's. The
// consumers' "effect" takes every effect that comes, also one that came before or is
// stale: the inbox alone keeps those away. Its kind is one of effectKinds.
// {serial} is a key that counts up.
var (
	producerTables = []string{
		`CREATE TABLE {account} (id varchar(32) PRIMARY KEY, balance bigint NOT NULL)`,
		`CREATE TABLE {transfer} (id varchar(64) PRIMARY KEY, source varchar(32) NOT NULL, target varchar(32) NOT NULL, amount bigint NOT NULL, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {notice} (id varchar(64) PRIMARY KEY, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {parcel} (id varchar(64) PRIMARY KEY, code bigint NOT NULL, version bigint NOT NULL, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {parcel_code} (id bigint PRIMARY KEY, version bigint NOT NULL)`,
		`CREATE TABLE {errand} (id varchar(64) PRIMARY KEY, code bigint NOT NULL, version bigint NOT NULL, message_id varchar(36) NOT NULL)`,
		`CREATE TABLE {errand_code} (id bigint PRIMARY KEY, version bigint NOT NULL)`,
		`CREATE TABLE {orders} (id varchar(32) PRIMARY KEY, version bigint NOT NULL)`,
		`CREATE TABLE {order_state} (id varchar(32) NOT NULL, version bigint NOT NULL, token varchar(64) NOT NULL, message_id varchar(36) NOT NULL, PRIMARY KEY (id, version))`,
	}
	consumerTables = []string{
		`CREATE TABLE {consumer_account} (id varchar(32) PRIMARY KEY, balance bigint NOT NULL)`,
		`CREATE TABLE {consumer_order} (id varchar(32) PRIMARY KEY, version bigint NOT NULL, token varchar(64) NOT NULL)`,
		`CREATE TABLE {abroad_record} (message_id varchar(36) PRIMARY KEY)`,
		`CREATE TABLE {effect} (n {serial}, kind varchar(16) NOT NULL, ref varchar(64) NOT NULL, version bigint NOT NULL, token varchar(64) NOT NULL,
			message_id varchar(36) NOT NULL, sequence bigint NOT NULL, time_stamp bigint NOT NULL, attempt bigint NOT NULL, happened bigint NOT NULL, who varchar(64) NOT NULL,
			due bigint NOT NULL DEFAULT 0, digest varchar(64) NOT NULL DEFAULT '')`,
		`CREATE INDEX {effect_index} (ref)`,
	}
)

// database is one side's database.
type database struct {
	*sql.DB
	dialect store.Dialect
	kind    string // the scheme of its address
	prefix  string // of all tables of the run

	sizing sync.Mutex // held while connections are told how large the file may be
	full   atomic.Bool
	filled atomic.Int64 // connections that were told so
}

// openDatabase opens a database; its tables may not be there yet.
func openDatabase(addr, prefix string) (*database, error) {
	db, dialect, err := address.OpenDatabaseAs(addr, "waybill torture")
	if err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(addr, ":")
	return &database{DB: db, dialect: dialect, kind: kind, prefix: prefix}, nil
}

// sql writes the tables' names and the dialect's placeholders into a statement.
func (d *database) sql(text string) string {
	var out strings.Builder
	n := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			end := i + strings.IndexByte(text[i:], '}')
			switch name := text[i+1 : end]; name {
			case "serial":
				out.WriteString(d.serial())
			case "effect_index":
				out.WriteString(d.effectIndex())
			default:
				out.WriteString(d.prefix + name)
			}
			i = end
		case c == '?' && d.isPostgres():
			n++
			out.WriteString("$" + strconv.Itoa(n))
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func (d *database) serial() string {
	switch d.kind {
	case "mysql", "mariadb":
		return "bigint PRIMARY KEY AUTO_INCREMENT"
	case "sqlite":
		return "integer PRIMARY KEY AUTOINCREMENT"
	}
	return "bigserial PRIMARY KEY"
}

// effectIndex is an index's name and its table's. SQLite takes the schema before the
// one, the others before the other.
func (d *database) effectIndex() string {
	bare := d.prefix[strings.IndexByte(d.prefix, '.')+1:]
	if d.kind == "sqlite" {
		return d.prefix + "effect_ref ON " + bare + "effect"
	}
	return bare + "effect_ref ON " + d.prefix + "effect"
}

// onSQLite says that the run's databases are files of SQLite.
func (r *run) onSQLite() bool {
	return strings.HasPrefix(r.o.ProducerDB, "sqlite:") && strings.HasPrefix(r.o.ConsumerDB, "sqlite:")
}

// handle has SQLite's file be full, or not any more, where the command says so.
func (d *database) handle(c command) {
	if c.Full != nil && d.full.Swap(*c.Full) != *c.Full {
		go d.resize()
	}
}

// unlimited is SQLite's own greatest number of a file's pages.
const unlimited = 1<<30 - 1

// resize tells all connections of the pool how large the file may be: as large as it is,
// where it is full. Each connection has a limit of its own, so they are kept.
func (d *database) resize() {
	d.sizing.Lock()
	defer d.sizing.Unlock()
	all := d.Stats().MaxOpenConnections
	d.SetMaxIdleConns(all)
	pages := unlimited
	if d.full.Load() {
		pages = 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range all {
		conn, err := d.Conn(ctx)
		if err != nil {
			return
		}
		defer conn.Close()
		var now int64
		err = conn.QueryRowContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&now) // never below what there is
		if err == nil && pages != unlimited {
			d.filled.Add(1)
		}
	}
}

// create makes one side's tables, with Waybill's, and what is in them at the start. topic
// says that some orders are public.
func (d *database) create(ctx context.Context, side store.Side, topic bool) error {
	if err := store.Migrate(ctx, d.DB, d.dialect, d.prefix, side); err != nil {
		return err
	}
	tables, account, order := producerTables, "account", `INSERT INTO {orders} (id, version) VALUES (?, 0)`
	if side == store.Consumer {
		tables, account, order = consumerTables, "consumer_account", `INSERT INTO {consumer_order} (id, version, token) VALUES (?, 0, '')`
	}
	for _, table := range tables {
		if _, err := d.ExecContext(ctx, d.sql(table)); err != nil {
			return fmt.Errorf("make the run's tables: %w", err)
		}
	}
	tx, err := d.BeginTx(ctx, nil)
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
		if _, err := tx.ExecContext(ctx, d.sql(`INSERT INTO {`+account+`} (id, balance) VALUES `+placeholders(n, "(?, ?)")), values...); err != nil {
			return err
		}
	}
	for i := range orders {
		if _, err := tx.ExecContext(ctx, d.sql(order), orderName(i, topic)); err != nil {
			return err
		}
	}
	if side == store.Producer {
		for table, n := range map[string]int{"parcel_code": len(parcelCodes), "errand_code": errandCodes} {
			for code := range n {
				if _, err := tx.ExecContext(ctx, d.sql(`INSERT INTO {`+table+`} (id, version) VALUES (?, 0)`), code); err != nil {
					return err
				}
			}
		}
	}
	return tx.Commit()
}

// drop drops all tables of the run.
func (d *database) drop(ctx context.Context) error {
	names, err := store.NewNames(d.prefix)
	if err != nil {
		return err
	}
	tables := names.Tables()
	for _, own := range []string{"account", "transfer", "notice", "parcel", "parcel_code", "errand", "errand_code", "orders", "order_state", "consumer_account", "consumer_order", "abroad_record", "effect"} {
		tables = append(tables, d.prefix+own)
	}
	for _, side := range copiedTables {
		for _, copied := range side {
			tables = append(tables, d.prefix+copyPrefix+copied)
		}
	}
	for _, table := range tables {
		if _, err := d.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
			return fmt.Errorf("drop the run's tables: %w", err)
		}
	}
	if d.isPostgres() {
		if _, err := d.ExecContext(ctx, "DROP FUNCTION IF EXISTS "+names.SQL("{qmessage_fill}")+"()"); err != nil {
			return fmt.Errorf("drop the run's function: %w", err)
		}
	}
	return nil
}

// number asks for one number.
func (d *database) number(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = d.QueryRowContext(ctx, d.sql(query), args...).Scan(&n)
	return n, err
}

// each calls scan for each row of a query.
func (d *database) each(ctx context.Context, query string, scan func(*sql.Rows) error, args ...any) error {
	return verdict.EachRow(ctx, d.DB, d.sql(query), scan, args...)
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

// keeperOf is the consumer group that keeps an order's latest state.
func keeperOf(order string) string {
	if isPublic(order) {
		return mirrorGroup
	}
	return latestGroup
}

// destinations are the run's queues and its topic.
type destinations struct {
	Transfers string
	Quick     string // transfers, too, but transient ones
	Orders    string
	Public    string // a topic: the public orders' states, for each of topicGroups
	Parcels   string // whose bodies and headers are anything
	Errands   string // of which an end is foreign
	Abroad    string // the same, for the foreign consumer
	Notices   string // whose rows go when the broker has confirmed: the classic outbox
}

func destinationsOf(run string) destinations {
	name := func(of string) string { return "torture." + run + "." + of }
	return destinations{Transfers: name("transfers"), Quick: name("quick"), Orders: name("orders"), Public: name("public"), Parcels: name("parcels"), Errands: name("errands"), Abroad: name("abroad"), Notices: name("notices")}
}
