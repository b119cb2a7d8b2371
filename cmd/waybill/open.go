package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

// connectionName is what databases and brokers show for the connections of a command, such as
// "waybill relay shop@host 4711": the command, whose it is, the host and the process.
func connectionName(cmd *cobra.Command) string {
	name := "waybill " + cmd.Name()
	if flag, is := map[string]string{"relay": "producer", "receive": "consumer"}[cmd.Name()]; is {
		name += " " + cmd.Flags().Lookup(flag).Value.String()
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	// A comma would end MySQL's attribute.
	return fmt.Sprintf("%s %d", strings.ReplaceAll(name, ",", ";"), os.Getpid())
}

// database is an open database. Nothing connects before the first use.
type database struct {
	*sql.DB
	dialect store.Dialect
	prefix  string
	address string // without its password
}

// openDatabase opens the database of --db. What is wrong with the address or the
// prefix is wrong usage.
func (o *options) openDatabase() (*database, error) {
	if o.db == "" {
		return nil, usagef("no database: give --db or set WAYBILL_DB, such as postgres://user:password@host/database or sqlite:path/to/file.db")
	}
	if _, err := store.NewNames(o.prefix); err != nil {
		return nil, usage(err)
	}
	db, dialect, err := address.OpenDatabaseAs(o.db, o.name)
	if err != nil {
		return nil, usage(err)
	}
	return &database{DB: db, dialect: dialect, prefix: o.prefix, address: address.Redact(o.db)}, nil
}

// openExisting is openDatabase for commands that work on tables that are there. SQLite
// would make a file where there is none.
func (o *options) openExisting() (*database, error) {
	d, err := o.openDatabase()
	if err != nil {
		return nil, err
	}
	path, isFile := sqliteFile(o.db)
	if !isFile {
		return d, nil
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		_ = d.Close()
		return nil, fmt.Errorf("the database file %s does not exist: run 'waybill init'", path)
	}
	return d, nil
}

// sqliteFile is the path in a database's address, where it names a file.
func sqliteFile(addr string) (path string, ok bool) {
	path, ok = strings.CutPrefix(addr, "sqlite:")
	return filepath.Clean(strings.TrimPrefix(path, "//")), ok
}

// answerTime is how long commands that do not wait for a server ask it to answer.
const answerTime = 10 * time.Second

// openAnswering is openExisting for commands that fail where the database is away.
func (o *options) openAnswering(ctx context.Context) (*database, error) {
	d, err := o.openExisting()
	if err != nil {
		return nil, err
	}
	if err := d.ping(ctx); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

func (d *database) ping(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := d.PingContext(asking)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case asking.Err() != nil:
		return fmt.Errorf("the database %s does not answer within %v", d.address, answerTime)
	}
	return fmt.Errorf("cannot connect to the database %s: %w", d.address, err)
}

// queue returns the producer's tables.
func (d *database) queue() (*store.Queue, error) { return store.NewQueue(d.DB, d.dialect, d.prefix) }

// withQueue opens the database and gives do its producer's tables, for commands that show
// and repair messages.
func (o *options) withQueue(ctx context.Context, do func(q *store.Queue) error) error {
	d, err := o.openAnswering(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	q, err := d.queue()
	if err != nil {
		return err
	}
	if err := q.CheckSchema(ctx); err != nil {
		return err
	}
	return do(q)
}

// openBroker returns the broker of --broker and what closes it.
func (o *options) openBroker() (b broker.Broker, closeBroker func() error, err error) {
	if o.broker == "" {
		return nil, nil, usagef("no broker: give --broker or set WAYBILL_BROKER, such as amqp1://user:password@host or embedded:path/to/dir")
	}
	b, err = address.OpenBrokerAs(o.broker, o.name)
	if dir, isEmbedded := strings.CutPrefix(o.broker, "embedded:"); err != nil && isEmbedded && dir != "" {
		return nil, nil, err // the address is right, and its server does not start
	}
	if err != nil {
		return nil, nil, usage(err)
	}
	if server, ok := b.(interface{ Shutdown() error }); ok {
		return b, server.Shutdown, nil
	}
	return b, func() error { return nil }, nil
}
