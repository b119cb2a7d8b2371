package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Setup is what makes a session fit for the engine's own statements, whatever the
// address, the pool and the server have set for it. Its statements have no arguments.
type Setup struct {
	// Begin runs once on a connection before the engine's first statement.
	Begin []string
	// End sets back what Begin has set.
	End []string
	// Transaction runs at the beginning of a transaction around a single statement,
	// where the session's settings have kept that from being run by itself. It is for
	// databases behind poolers, whose sessions cannot be set up: Begin is empty then.
	Transaction []string
	// HangUp closes the connection beneath a driver's one, as sql.Conn.Raw shows it, where
	// the driver itself may give it back to a pool that others use. Nil for none.
	HangUp func(driverConn any)
}

// SessionDialect is the part of a Dialect that knows what sessions, roles and servers
// may have set, and what their errors mean to a person.
type SessionDialect interface {
	// Setup makes a session fit for the engine.
	Setup() Setup
	// ReadOnly says whether err comes of a transaction, a session or a server that takes
	// no writes.
	ReadOnly(err error) bool
	// Full says whether the database has no room for what a statement writes: its disk, or a
	// file or table of it, is full.
	Full(err error) bool
	// Refused says whether the database has not let a connection in, and trying again cannot
	// help: a wrong password, or a database that does not exist.
	Refused(err error) bool
	// TimedOut says whether the session's own limit of time has ended a statement.
	TimedOut(err error) bool
	// Locked says whether a statement has waited in vain for the lock of a row.
	Locked(err error) bool
	// Misled says whether an error of Waybill's own statement may come of what somebody has
	// set for the session and left behind: a schema or a database that the tables are not
	// in, a role without rights. Another connection may do. False for nil.
	Misled(err error) bool
	// Explain says in one sentence what a person can do about an error of a statement
	// that runs every day; "" where there is nothing to add.
	Explain(err error) string
	// Findings ask for what a person should know of the database's settings and of this
	// user's. Each returns rows of two columns, or none: whether messages do not move
	// because of it, and a text as Finding has it.
	Findings(n Names, side Side) []Statement
}

const (
	// The engine's statements at one time, by kind. Together they are maxSessions.
	// Helping reads are those that may be slow and that no message waits for: none of a
	// relay's waits for another.
	maxReads, maxHelping, maxWrites, maxLeases = 4, 5, 5, 1
	// maxSessions bounds the connections that a Queue or a Ledger uses for statements of
	// its own, whatever the number of destinations: further callers wait.
	maxSessions = maxReads + maxHelping + maxWrites + maxLeases
	// keptShare is the part of a bounded pool that the engine may keep for itself: one
	// connection in so many.
	keptShare = 4
	// smallPool is the number of connections below which a bounded pool is small.
	smallPool = 8
	// idleSession is how long a connection is kept that nothing runs on.
	idleSession = 5 * time.Second
	// sessionLife is how long a connection is kept at most: after a failover a name may
	// lead to another server.
	sessionLife = 3 * time.Minute
	// maxRepeats is how often a statement that has lost to another transaction is run
	// again, where it took no longer than repeatTime to find that out.
	maxRepeats = 4
	repeatTime = time.Second
)

// sessions run the engine's own statements, each by itself, on connections that they
// borrow from the user's pool and make fit for it. Where that changes a session, they
// keep a few such connections, and close them in the end: the user's pool never sees
// them again. Of a pool that is bounded to few connections they keep none, and set the
// session back each time.
//
// No caller holds one connection while it waits for another.
type sessions struct {
	db      *sql.DB
	dialect Dialect
	setup   Setup

	reads, helping, writes, leases chan struct{}
	helpingAlone                   chan struct{} // where isSmall
	// careful has each statement run in a transaction, with Setup.Transaction.
	careful atomic.Bool

	mu      sync.Mutex
	kept    []*session
	closing *time.Timer // nil while none is kept
}

// session is a connection of the engine's own.
type session struct {
	*sql.Conn
	made, used time.Time
	// unfit: it does not take Setup.Transaction, as a standby's does not.
	unfit bool
}

func newSessions(db *sql.DB, dialect Dialect) *sessions {
	return &sessions{
		db: db, dialect: dialect, setup: dialect.Setup(),
		reads: make(chan struct{}, maxReads), helping: make(chan struct{}, maxHelping), helpingAlone: make(chan struct{}, 1), writes: make(chan struct{}, maxWrites), leases: make(chan struct{}, maxLeases),
	}
}

// exec runs a statement that writes, and returns the number of rows that it changed. o is
// for databases whose sessions are not set up; nil stands for their own default.
func (s *sessions) exec(ctx context.Context, turn chan struct{}, o *sql.TxOptions, st Statement) (changed int64, err error) {
	err = s.run(ctx, turn, o, func(on Session) (begun bool, err error) {
		result, err := on.ExecContext(ctx, st.SQL, st.Args...)
		if err != nil {
			return false, err
		}
		changed, err = result.RowsAffected()
		return true, err
	})
	return changed, err
}

// each calls scan for each row that a statement returns, as the function each does.
func (s *sessions) each(ctx context.Context, turn chan struct{}, st Statement, scan func(*sql.Rows) error) error {
	return s.run(ctx, turn, nil, func(on Session) (begun bool, err error) {
		err = each(ctx, on, st, func(rows *sql.Rows) error {
			begun = true
			return scan(rows)
		})
		return begun, err
	})
}

// inOneTx runs f, which may run several statements, in one transaction, and again as run
// does.
func (s *sessions) inOneTx(ctx context.Context, turn chan struct{}, f func(tx Session) error) error {
	return s.inTurn(ctx, turn, func() error { return s.inOneTxNow(ctx, f) })
}

// inOneTxNow is inOneTx for a caller whose turn it is.
func (s *sessions) inOneTxNow(ctx context.Context, f func(tx Session) error) error {
	return s.runNow(ctx, nil, s.transacted(ctx, func(on Session) (begun bool, err error) { return false, f(on) }))
}

// transacted has f run in a transaction, where it is not in one anyway.
func (s *sessions) transacted(ctx context.Context, f func(Session) (begun bool, err error)) func(Session) (bool, error) {
	return func(on Session) (begun bool, err error) {
		if c, alone := on.(*session); alone {
			return s.inTx(ctx, c, nil, f)
		}
		return f(on)
	}
}

// reader reads with a connection of the engine's own.
func (s *sessions) reader() reader {
	return reader{func(ctx context.Context, st Statement, scan func(*sql.Rows) error) error {
		return s.each(ctx, s.reads, st, scan)
	}}
}

// run runs f with a connection, and again with another one where that turns out to be
// dead, or where the statement has lost to another transaction: unless f has begun to
// hand out rows. f runs one statement.
func (s *sessions) run(ctx context.Context, turn chan struct{}, o *sql.TxOptions, f func(Session) (begun bool, err error)) error {
	return s.inTurn(ctx, turn, func() error { return s.runNow(ctx, o, f) })
}

// inTurn runs f when it is its turn.
func (s *sessions) inTurn(ctx context.Context, turn chan struct{}, f func() error) error {
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if turn == s.helping && s.isSmall() {
		select {
		case s.helpingAlone <- struct{}{}:
			defer func() { <-s.helpingAlone }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f()
}

// isSmall says whether the pool has so few connections that helping reads, which may be slow,
// could have them all: then they come one at a time.
func (s *sessions) isSmall() bool {
	open := s.db.Stats().MaxOpenConnections
	return open > 0 && open < smallPool
}

// runNow is run for a caller whose turn it is.
func (s *sessions) runNow(ctx context.Context, o *sql.TxOptions, f func(Session) (begun bool, err error)) error {
	for stale, repeats := 0, 0; ; {
		began := time.Now()
		begun, err := s.once(ctx, o, f)
		switch {
		case err == nil || begun || ctx.Err() != nil:
			return err
		case errors.Is(err, driver.ErrBadConn) && stale < maxStale:
			stale++ // nothing was sent
		case condition(s.dialect, err) == Conflict && repeats < maxRepeats && time.Since(began) < repeatTime:
			repeats++
			pause(ctx, time.Duration(repeats*repeats)*time.Millisecond)
		default:
			return err
		}
	}
}

// once runs f with one connection.
func (s *sessions) once(ctx context.Context, o *sql.TxOptions, f func(Session) (begun bool, err error)) (begun bool, err error) {
	c, err := s.take(ctx)
	if err != nil {
		return false, err
	}
	defer func() { s.give(ctx, c, err) }()
	if s.careful.Load() || o != nil && len(s.setup.Begin) == 0 {
		begun, err = s.inTx(ctx, c, o, f)
	} else {
		begun, err = f(c)
	}
	if err == nil || begun || !s.impeded(err) {
		return begun, err
	}
	// The settings of the session may be all that stands in the way.
	careful, carefulErr := s.inTx(ctx, c, o, f)
	s.careful.Store(carefulErr == nil)
	if carefulErr == nil || careful {
		return careful, carefulErr
	}
	return false, err
}

// impeded says whether a statement may work in a transaction of its own that did not
// work by itself.
func (s *sessions) impeded(err error) bool {
	return len(s.setup.Transaction) > 0 && (s.dialect.ReadOnly(err) || s.dialect.TimedOut(err))
}

// inTx runs f in a transaction that Setup.Transaction has made fit for it, where that is
// needed.
func (s *sessions) inTx(ctx context.Context, c *session, o *sql.TxOptions, f func(Session) (begun bool, err error)) (begun bool, err error) {
	if o == nil {
		o = &sql.TxOptions{Isolation: s.dialect.Capabilities().GuardIsolation}
	}
	tx, err := c.BeginTx(ctx, o)
	if err != nil {
		return false, err
	}
	defer tx.Rollback() // does nothing after a commit
	for _, text := range s.setup.Transaction {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			c.unfit = true
			return false, err
		}
	}
	if begun, err = f(tx); err != nil {
		return begun, err
	}
	return begun, tx.Commit()
}

// take returns a connection that is fit for the engine.
func (s *sessions) take(ctx context.Context) (*session, error) {
	if c := s.takeKept(); c != nil {
		return c, nil
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for _, text := range s.setup.Begin {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			discard(s.dialect, conn)
			return nil, err
		}
	}
	return &session{Conn: conn, made: time.Now()}, nil
}

// takeKept returns the connection that was used last; nil where none is kept.
func (s *sessions) takeKept() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.kept) > 0 {
		c := s.kept[len(s.kept)-1]
		s.kept = s.kept[:len(s.kept)-1]
		if time.Since(c.made) < sessionLife {
			return c
		}
		discard(s.dialect, c.Conn)
	}
	return nil
}

// give takes a connection back, after a statement that came to err. One that is dead, or
// leads to a database that takes no writes or no settings, or does not lead to the tables
// with the rights on them, is closed: its pool must not hand it out again.
func (s *sessions) give(ctx context.Context, c *session, err error) {
	switch {
	case c.unfit, ctx.Err() != nil && len(s.setup.Begin) > 0, condition(s.dialect, err) == Unavailable, s.dialect.Misled(err):
		discard(s.dialect, c.Conn)
	case len(s.setup.Begin) == 0:
		_ = c.Close()
	case !s.keep(c):
		s.restore(c)
	}
}

// keep keeps a connection for the next statement, where the pool has enough of them.
func (s *sessions) keep(c *session) bool {
	most := maxSessions
	if open := s.db.Stats().MaxOpenConnections; open > 0 {
		most = min(most, open/keptShare)
	}
	c.used = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= most || time.Since(c.made) >= sessionLife {
		return false
	}
	s.kept = append(s.kept, c)
	if s.closing == nil {
		s.closing = time.AfterFunc(idleSession, s.closeIdle)
	}
	return true
}

// restore sets a session back and gives its connection to the pool.
func (s *sessions) restore(c *session) {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	for _, text := range s.setup.End {
		if _, err := c.ExecContext(ctx, text); err != nil {
			discard(s.dialect, c.Conn)
			return
		}
	}
	_ = c.Close()
}

// closeIdle closes the connections that have been kept for long and not used, and comes
// again as long as there are others.
func (s *sessions) closeIdle() {
	s.mu.Lock()
	var idle, busy []*session
	for _, c := range s.kept {
		if time.Since(c.used) >= idleSession {
			idle = append(idle, c)
		} else {
			busy = append(busy, c)
		}
	}
	s.kept, s.closing = busy, nil
	if len(busy) > 0 {
		s.closing = time.AfterFunc(idleSession, s.closeIdle)
	}
	s.mu.Unlock()
	s.discard(idle)
}

// close closes all connections that are kept.
func (s *sessions) close() {
	s.mu.Lock()
	kept := s.kept
	s.kept = nil
	if s.closing != nil {
		s.closing.Stop()
		s.closing = nil
	}
	s.mu.Unlock()
	s.discard(kept)
}

func (s *sessions) discard(all []*session) {
	for _, c := range all {
		discard(s.dialect, c.Conn)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
