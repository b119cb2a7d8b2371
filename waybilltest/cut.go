package waybilltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

// scissors cut a handler's connection at one of its statements: that one fails without having
// been run, and so do all that follow. What the inbox itself runs goes through, so that the
// transaction ends as it does where a handler fails.
type scissors struct {
	mu        sync.Mutex
	handling  bool
	statement int    // that the handler runs
	at        int    // at which one it is cut; the one behind the last is the commit
	committed bool   // the commit has been cut, too
	where     string // it was cut; "" where it was not
	swallowed bool   // the handler has returned nil all the same
}

// set has the next call of the handler be cut at its nth statement.
func (x *scissors) set(at int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at, x.where, x.swallowed = at, "", false
	if at == 1 {
		x.committed = false
	}
}

// passed says whether the last call was not cut.
func (x *scissors) passed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.where == ""
}

var errCut = errors.New("waybilltest: the connection was cut")

// around puts the scissors around a handler.
func (x *scissors) around(next inbox.BatchHandler) inbox.BatchHandler {
	return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		x.mu.Lock()
		x.handling, x.statement = true, 0
		x.mu.Unlock()
		defer func() { // it may panic
			x.mu.Lock()
			defer x.mu.Unlock()
			x.handling = false
		}()
		err := next(ctx, tx, messages)
		x.mu.Lock()
		defer x.mu.Unlock()
		switch {
		case err != nil:
			return err
		case x.where != "":
			x.swallowed = true
			return errCut
		case !x.committed:
			x.committed, x.where = true, fmt.Sprintf("commit, behind %d statements", x.statement)
			return errCut
		}
		return nil
	}
}

// next counts a statement of the handler, and fails where it is cut off.
func (x *scissors) next(query string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case !x.handling:
		return nil
	case x.where != "":
		return errCut
	}
	if x.statement++; x.statement < x.at || x.committed {
		return nil
	}
	x.where = fmt.Sprintf("statement %d (%.200s)", x.statement, strings.Join(strings.Fields(query), " "))
	return errCut
}

// again takes back what next has counted: the statement comes again in another way.
func (x *scissors) again(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.handling && errors.Is(err, driver.ErrSkip) {
		x.statement--
	}
	return err
}

// pool is a pool of connections of another one that can be cut. It keeps none.
func (x *scissors) pool(of *sql.DB) *sql.DB {
	db := sql.OpenDB(cutConnector{x, of})
	db.SetMaxIdleConns(-1)
	return db
}

// cutDialect is the user's, for connections that can be cut.
type cutDialect struct{ store.Dialect }

// Watch implements store.Dialect.
func (d cutDialect) Watch(driverConn any) store.Watch {
	if c, ok := driverConn.(*cutConn); ok {
		driverConn = c.Conn
	}
	return d.Dialect.Watch(driverConn)
}

type cutConnector struct {
	x  *scissors
	of *sql.DB
}

// Connect implements driver.Connector.
func (c cutConnector) Connect(ctx context.Context) (driver.Conn, error) {
	lent, err := c.of.Conn(ctx)
	if err != nil {
		return nil, err
	}
	conn := &cutConn{x: c.x, lent: lent}
	err = lent.Raw(func(driverConn any) error {
		var ok bool
		if conn.Conn, ok = driverConn.(driver.Conn); !ok {
			return fmt.Errorf("waybilltest: %T is no driver's connection", driverConn)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, lent.Close())
	}
	return conn, nil
}

// Driver implements driver.Connector.
func (c cutConnector) Driver() driver.Driver { return c.of.Driver() }

// cutConn is a driver's connection that can be cut. It has all of the interfaces that
// database/sql asks for, and does without where the driver's own has one of them not.
type cutConn struct {
	driver.Conn
	x    *scissors
	lent *sql.Conn
}

// Close implements driver.Conn: it gives the connection back.
func (c *cutConn) Close() error { return c.lent.Close() }

// PrepareContext implements driver.ConnPrepareContext.
func (c *cutConn) PrepareContext(ctx context.Context, query string) (stmt driver.Stmt, err error) {
	if own, ok := c.Conn.(driver.ConnPrepareContext); ok {
		stmt, err = own.PrepareContext(ctx, query)
	} else {
		stmt, err = c.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return &cutStmt{stmt, c, query}, nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *cutConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if own, ok := c.Conn.(driver.ConnBeginTx); ok {
		return own.BeginTx(ctx, o)
	}
	return c.Begin() // an old driver has no other one
}

// ExecContext implements driver.ExecerContext.
func (c *cutConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	own, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	if err := c.x.next(query); err != nil {
		return nil, err
	}
	result, err := own.ExecContext(ctx, query, args)
	return result, c.x.again(err)
}

// QueryContext implements driver.QueryerContext.
func (c *cutConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	own, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	if err := c.x.next(query); err != nil {
		return nil, err
	}
	rows, err := own.QueryContext(ctx, query, args)
	return rows, c.x.again(err)
}

// CheckNamedValue implements driver.NamedValueChecker.
func (c *cutConn) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := c.Conn.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type cutStmt struct {
	driver.Stmt
	c     *cutConn
	query string
}

// ExecContext implements driver.StmtExecContext.
func (s *cutStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.c.x.next(s.query); err != nil {
		return nil, err
	}
	if own, ok := s.Stmt.(driver.StmtExecContext); ok {
		return own.ExecContext(ctx, args)
	}
	return s.Exec(plain(args)) // an old driver has no other one
}

// QueryContext implements driver.StmtQueryContext.
func (s *cutStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.c.x.next(s.query); err != nil {
		return nil, err
	}
	if own, ok := s.Stmt.(driver.StmtQueryContext); ok {
		return own.QueryContext(ctx, args)
	}
	return s.Query(plain(args)) // an old driver has no other one
}

// CheckNamedValue implements driver.NamedValueChecker.
func (s *cutStmt) CheckNamedValue(v *driver.NamedValue) error {
	if own, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return own.CheckNamedValue(v)
	}
	return s.c.CheckNamedValue(v)
}

func plain(args []driver.NamedValue) []driver.Value {
	all := make([]driver.Value, len(args))
	for i := range args {
		all[i] = args[i].Value
	}
	return all
}
