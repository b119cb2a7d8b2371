package storetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// wrapped is a pool over db whose driver wraps that of db, as drivers do that trace
// statements.
func (s *suite) wrapped(wrap func(*wrappedConn) driver.Conn) *sql.DB {
	pool := sql.OpenDB(&wrapper{s.db, wrap})
	s.Cleanup(func() { _ = pool.Close() })
	return pool
}

// wrapper connects by borrowing the connections of another pool.
type wrapper struct {
	db   *sql.DB
	wrap func(*wrappedConn) driver.Conn
}

func (w *wrapper) Driver() driver.Driver { return w.db.Driver() }

func (w *wrapper) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &wrappedConn{borrowed: conn}
	err = conn.Raw(func(driverConn any) error {
		c.Conn = driverConn.(driver.Conn)
		return nil
	})
	return w.wrap(c), err
}

// wrappedConn passes on what database/sql asks of a connection.
type wrappedConn struct {
	driver.Conn
	borrowed *sql.Conn
}

func (c *wrappedConn) Close() error { return c.borrowed.Close() }

func (c *wrappedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

func (c *wrappedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *wrappedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// openedConn shows the connection that it wraps.
type openedConn struct{ *wrappedConn }

func (c openedConn) Raw() driver.Conn { return c.Conn }
