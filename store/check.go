package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// Finding is something about a database that a person should know.
type Finding struct {
	// Blocks says that messages do not move until this is mended.
	Blocks bool
	// Text says what was found and what can be done about it.
	Text string
}

// Repairer is implemented by a Dialect whose tables may break by what happens around
// them, such as the end of the account that made them.
type Repairer interface {
	// Trial writes a message that nobody will ever see, as a writer of plain SQL does; it
	// uses up no id. It is rolled back.
	Trial(Names) Statement
	// Repair returns the statements that mend a side's tables of a version, at most the one
	// that this program makes, where err, of a statement that should have worked, shows that
	// they are broken; none otherwise. They are run one by one, outside of transactions.
	Repair(n Names, side Side, version int, err error) []Statement
}

// Check looks for what would keep a relay from its work: rights that are missing, a
// database that takes no writes, rows that are hidden from this user. It tries each kind
// of statement in a transaction that it rolls back. Some findings are mere remarks. An
// error says that the database could not be asked: it is away, or the tables are not
// there (waybill.ErrSchema).
func (q *Queue) Check(ctx context.Context) ([]Finding, error) {
	c := checker{sessions: q.sessions, names: q.names, side: Producer}
	d, id := q.dialect, waybill.NewID()
	_, err := q.Sweep(ctx, 0, 1, 1)
	c.found(true, err)
	c.try(ctx, "take the relay's lease", append(
		d.AcquireLease(q.names, "check."+id.String(), "check", 1), d.RenewLease(q.names, "check."+id.String(), "check", 1, 0))...)
	c.try(ctx, "delete confirmed messages", d.Delete(q.names, []waybill.ID{id}))
	c.try(ctx, "postpone and reject messages", d.Postpone(q.names, id, 1, 0, 0, ""), d.Reject(q.names, id, ""))
	if !q.Older() {
		c.optional = true // but for destinations of several named consumers, messages move without
		c.try(ctx, "note who has confirmed", d.SaveAnswers(q.names, []Answer{{MessageID: id, Consumer: "check"}}), d.DeleteAnswers(q.names, []waybill.ID{id}))
		c.optional = false
	}
	c.tryTables(ctx)
	c.ask(ctx)
	return append(c.findings, q.tables.finding()...), c.err
}

// Check looks for what would keep an inbox with handlers of these levels from its work,
// as Queue.Check does for a relay.
func (l *Ledger) Check(ctx context.Context, levels ...waybill.Level) ([]Finding, error) {
	c := checker{sessions: l.sessions, names: l.names, side: Consumer}
	d, id := l.dialect, waybill.NewID()
	for _, level := range levels {
		if c.err == nil && !c.closed {
			c.found(true, l.Probe(ctx, level))
		}
	}
	c.optional = true // without these, messages move all the same
	c.try(ctx, "store floors and horizons", d.SaveFloor(l.names, l.consumer, "check."+id.String(), id),
		d.SaveHorizon(l.names, l.consumer, "check."+id.String(), id))
	c.try(ctx, "remove old records", d.PruneOnce(l.names, l.consumer, []waybill.ID{id}))
	if !l.Older() {
		kept := &Kept{Consumer: l.consumer, MessageID: id, Delivery: "check." + id.String(), Headers: "{}", Body: []byte{}}
		c.try(ctx, "keep messages that nobody else keeps", d.Keep(l.names, kept, 0), d.KeepAgain(l.names, kept, 0), d.TakeKept(l.names, l.consumer, 0))
	}
	c.ask(ctx)
	return append(c.findings, l.tables.finding()...), c.err
}

// checker collects findings, until an error.
type checker struct {
	sessions *sessions
	names    Names
	side     Side
	optional bool // what is tried now
	closed   bool // the database takes no writes, and more need not be tried
	findings []Finding
	err      error
}

// try tries statements that write, which change no row that anybody has, in a transaction that is
// rolled back.
func (c *checker) try(ctx context.Context, doing string, statements ...Statement) {
	if c.err != nil || c.closed {
		return
	}
	c.found(!c.optional, wrap(c.sessions.dialect, c.side, doing, c.sessions.try(ctx, statements...)))
}

// found judges what a trial came to.
func (c *checker) found(blocks bool, err error) {
	d := c.sessions.dialect
	switch {
	case err == nil, condition(d, err) == Conflict:
	case d.ReadOnly(err):
		c.closed = true
		c.add(true, err)
	case condition(d, err) == Other:
		c.add(blocks, err)
	default:
		c.err = err
	}
}

func (c *checker) add(blocks bool, err error) {
	c.findings = append(c.findings, Finding{Blocks: blocks, Text: err.Error()})
}

// tryTables tries to send a message, where that may fail for a reason that lies in the
// tables. That this user may not send is none: relays need no right to.
func (c *checker) tryTables(ctx context.Context) {
	d := c.sessions.dialect
	repairer, ok := d.(Repairer)
	if !ok || c.err != nil || c.closed {
		return
	}
	err := c.sessions.try(ctx, repairer.Trial(c.names))
	if err != nil && len(repairer.Repair(c.names, c.side, newestVersion(d, c.side), err)) > 0 {
		c.add(true, wrap(d, c.side, "write messages", err))
	}
}

// ask adds what the dialect finds out by asking.
func (c *checker) ask(ctx context.Context) {
	for _, s := range c.sessions.dialect.Findings(c.names, c.side) {
		if c.err != nil {
			return
		}
		err := c.sessions.each(ctx, c.sessions.reads, s, func(rows *sql.Rows) error {
			var f Finding
			err := rows.Scan(&f.Blocks, &f.Text)
			c.findings = append(c.findings, f)
			return err
		})
		if condition(c.sessions.dialect, err) == Unavailable {
			c.err = wrap(c.sessions.dialect, c.side, "ask for settings", err)
		}
	}
}

// try runs statements that write in a transaction that it rolls back, and returns the error of the
// first that fails.
func (s *sessions) try(ctx context.Context, statements ...Statement) (err error) {
	c, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer func() { s.give(ctx, c, err) }()
	err = s.tryIn(ctx, c, false, statements)
	if err != nil && s.impeded(err) && s.tryIn(ctx, c, true, statements) == nil {
		return nil
	}
	return err
}

func (s *sessions) tryIn(ctx context.Context, c *session, careful bool, statements []Statement) error {
	tx, err := c.BeginTx(ctx, &sql.TxOptions{Isolation: s.dialect.Capabilities().GuardIsolation})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if careful {
		for _, text := range s.setup.Transaction {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return err
			}
		}
	}
	return run(ctx, tx, statements...)
}

// repair mends a side's tables where a trial shows that they are broken, as those of the
// version that they are of. Those of a newer version are for newer programs to mend.
func repair(ctx context.Context, c *session, s *sessions, n Names, side Side) error {
	repairer, ok := s.dialect.(Repairer)
	if !ok || side != Producer {
		return nil
	}
	have, err := version(ctx, readerOn(c.Conn), s.dialect, n, side)
	if err != nil || have > newestVersion(s.dialect, side) {
		return err
	}
	broken := s.tryIn(ctx, c, false, []Statement{repairer.Trial(n)})
	if broken == nil {
		return nil
	}
	for _, st := range repairer.Repair(n, side, have, broken) {
		if _, err := c.ExecContext(ctx, st.SQL, st.Args...); err != nil {
			return withAdvice(s.dialect, fmt.Errorf("waybill: mend the %s's tables: %w", side, err))
		}
	}
	return nil
}

// BlockedError says that messages cannot move until a person has mended something.
type BlockedError struct {
	Findings []Finding // those that block
}

// Error is the findings' texts.
func (e *BlockedError) Error() string {
	texts := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		texts[i] = f.Text
	}
	return strings.Join(texts, "; ")
}

// Blocked is a *BlockedError of those findings that block; nil where none does.
func Blocked(findings []Finding) error {
	var blocking []Finding
	for _, f := range findings {
		if f.Blocks {
			blocking = append(blocking, f)
		}
	}
	if len(blocking) == 0 {
		return nil
	}
	return &BlockedError{blocking}
}
