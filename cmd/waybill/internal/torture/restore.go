package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/store"
)

// copiedTables are those of a side that a restore puts back: all that change after init, but
// n_rejected, which has what was acknowledged and would not come again.
var copiedTables = map[store.Side][]string{
	store.Producer: {"qmessage", "qmessage_key", "qrelay", "qoutbox", "qconfirmed", "account", "transfer", "notice", "parcel", "parcel_code", "errand", "errand_code", "orders", "order_state"},
	store.Consumer: {"n1_record", "n2_record", "n_horizon", "consumer_account", "consumer_order", "abroad_record", "effect"},
}

// counted are the tables whose keys the database counts up, and these keys' columns.
var counted = map[store.Side]struct{ table, column string }{
	store.Producer: {"qmessage", "id"},
	store.Consumer: {"effect", "n"},
}

// copyPrefix makes the name of a table's copy of the table's.
const copyPrefix = "copy_"

// restore takes a copy of the producers' database, of the consumers', or of both, and puts
// it in the database's place a while later, as where a backup is restored or a standby takes
// over that lacks the last commits: what was committed meanwhile is gone, and row ids,
// sequences and leases go back. Half of the times the processes go on over it.
func (n *nemesis) restore(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("restore")
	if !ok {
		return
	}
	defer release()
	sides := [][]store.Side{{store.Producer}, {store.Consumer}, {store.Consumer, store.Producer}}[dice.IntN(3)]
	span, kills := between(dice, time.Second, 8*time.Second), dice.IntN(2) == 0
	sequences := map[store.Side]int64{}
	copied := n.whileDatabaseStands(ctx, func(ctx context.Context) error {
		for _, side := range sides {
			sequence, err := n.databaseOf(side).copyTables(ctx, side)
			if err != nil {
				return err
			}
			sequences[side] = sequence
		}
		return nil
	})
	if !copied {
		return
	}
	n.note("a copy was taken of the database of %s", ofSides(sides))
	backoff.Sleep(ctx, span)
	// A copy that is there is used, also where ctx has ended.
	restored := n.whileDatabaseStands(context.WithoutCancel(ctx), func(ctx context.Context) error {
		if kills {
			defer n.killClients(sides)()
		}
		for _, side := range sides {
			if err := n.restoreSide(ctx, side, sequences[side]); err != nil {
				return err
			}
		}
		return nil
	})
	if restored {
		n.count("restore")
	}
}

// ofSides names sides for a person.
func ofSides(sides []store.Side) string {
	names := make([]string, len(sides))
	for i, side := range sides {
		names[i] = string(side) + "s"
	}
	return strings.Join(names, " and ")
}

func (r *run) databaseOf(side store.Side) *database {
	if side == store.Producer {
		return r.producerDB
	}
	return r.consumerDB
}

// restoreTime is how long copying or restoring may take, with the tries that lose to other
// transactions.
const restoreTime = 2 * time.Minute

// whileDatabaseStands does something while no other fault breaks the databases, and reports
// whether it was done; the run fails where that fails. It does not begin once ctx has ended.
func (n *nemesis) whileDatabaseStands(ctx context.Context, do func(context.Context) error) bool {
	release, ok := n.claimSoon(ctx, "database")
	if !ok {
		return false
	}
	defer release()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	err := do(limited)
	if err != nil {
		n.fail(fmt.Errorf("copy or restore a database: %w", err))
	}
	return err == nil
}

// killClients kills the processes that work on some databases, but for those that something
// else has taken. The function that it returns starts them again.
func (n *nemesis) killClients(sides []store.Side) (start func()) {
	var clients []*process
	if slices.Contains(sides, store.Producer) {
		clients = slices.Concat(n.producers, n.relays)
	}
	if slices.Contains(sides, store.Consumer) {
		clients = slices.Concat(clients, n.consumers)
	}
	var killed []*process
	var releases []func()
	for _, p := range clients {
		if release, ok := n.claim(p.Name); ok {
			p.Kill()
			killed = append(killed, p)
			releases = append(releases, release)
		}
	}
	return func() {
		for i, p := range killed {
			if err := p.Start(); err != nil {
				n.fail(err)
			}
			releases[i]()
		}
	}
}

// restoreSide puts a side's database back to its copy, and notes what that undoes.
func (r *run) restoreSide(ctx context.Context, side store.Side, sequence int64) error {
	var lost string
	err := r.databaseOf(side).restoreTables(ctx, side, sequence, func(tx *sql.Tx) (note func(), err error) {
		if side == store.Producer {
			messages, err := r.producerDB.readUndone(ctx, tx)
			lost = fmt.Sprintf("%d transactions, of %d messages", len(messages.gone.tokens), messages.gone.count())
			return func() { r.noteUndone(messages) }, err
		}
		effects, err := r.consumerDB.readUndoneEffects(ctx, tx)
		lost = fmt.Sprintf("%d effects", len(effects))
		return func() { r.noteUndoneEffects(effects) }, err
	})
	if err == nil {
		r.note("the database of %ss is its copy again, and has lost %s", side, lost)
	}
	return err
}

// inTx does something in a transaction, and does it again where that fails, as where it has
// lost to another transaction, until ctx ends. A COMMIT that fails is not tried again, since
// nobody knows what became of it.
func (d *database) inTx(ctx context.Context, level sql.IsolationLevel, do func(*sql.Tx) error) error {
	if d.kind == "sqlite" {
		level = sql.LevelDefault
	}
	once := func() (done bool, err error) {
		tx, err := d.BeginTx(ctx, &sql.TxOptions{Isolation: level})
		if err != nil {
			return false, err
		}
		defer func() { _ = tx.Rollback() }()
		if err := do(tx); err != nil {
			return false, err
		}
		return true, tx.Commit()
	}
	var last error
	for {
		done, err := once()
		switch {
		case done:
			return err
		case ctx.Err() != nil:
			return errors.Join(err, last)
		}
		last = err
		backoff.Sleep(ctx, 200*time.Millisecond)
	}
}

// run runs statements.
func (d *database) run(ctx context.Context, tx *sql.Tx, statements ...string) error {
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, d.sql(s)); err != nil {
			return fmt.Errorf("%s: %w", d.sql(s), err)
		}
	}
	return nil
}

// copyTables copies a side's tables as they are at one moment, and returns how far its
// sequence has come.
func (d *database) copyTables(ctx context.Context, side store.Side) (sequence int64, err error) {
	for _, table := range copiedTables[side] {
		if _, err := d.ExecContext(ctx, d.sql(`CREATE TABLE IF NOT EXISTS {`+copyPrefix+table+`} AS SELECT * FROM {`+table+`} WHERE 1 = 0`)); err != nil {
			return 0, err
		}
	}
	err = d.inTx(ctx, sql.LevelRepeatableRead, func(tx *sql.Tx) error {
		if err := d.refill(ctx, tx, side, "", copyPrefix); err != nil {
			return err
		}
		sequence, err = d.sequence(ctx, tx, side)
		return err
	})
	return sequence, err
}

// refill fills a side's tables of one kind with the rows of those of the other kind.
func (d *database) refill(ctx context.Context, tx *sql.Tx, side store.Side, from, to string) error {
	for _, table := range copiedTables[side] {
		err := d.run(ctx, tx, `DELETE FROM {`+to+table+`}`, `INSERT INTO {`+to+table+`} SELECT * FROM {`+from+table+`}`)
		if err != nil {
			return err
		}
	}
	return nil
}

// restoreTables puts a side's tables back to their copies, in one transaction. look is called
// in it while nobody else can write and before anything has changed; what it returns is called
// once that has committed.
func (d *database) restoreTables(ctx context.Context, side store.Side, sequence int64, look func(*sql.Tx) (note func(), err error)) error {
	var note func()
	level := sql.LevelRepeatableRead
	if d.isPostgres() {
		level = sql.LevelReadCommitted // or its snapshot would be of before it has the locks
	}
	err := d.inTx(ctx, level, func(tx *sql.Tx) (err error) {
		if err := d.shutOut(ctx, tx, side); err != nil {
			return err
		}
		if note, err = look(tx); err != nil {
			return err
		}
		if err := d.refill(ctx, tx, side, copyPrefix, ""); err != nil {
			return err
		}
		return d.setSequence(ctx, tx, side, sequence)
	})
	if err != nil {
		return err
	}
	note()
	if d.isMySQL() {
		// It would end the transaction.
		_, err = d.ExecContext(ctx, fmt.Sprintf(d.sql(`ALTER TABLE {`+counted[side].table+`} AUTO_INCREMENT = %d`), sequence+1))
	}
	return err
}

func (d *database) isMySQL() bool { return d.kind == "mysql" || d.kind == "mariadb" }

func (d *database) isPostgres() bool { return strings.HasPrefix(d.kind, "postgres") }

// shutOut keeps all others from writing a side's tables until the transaction ends. On
// PostgreSQL it ends the sessions that are writing, as a failover does.
func (d *database) shutOut(ctx context.Context, tx *sql.Tx, side store.Side) error {
	switch {
	case d.isPostgres():
		names := make([]string, 0, len(copiedTables[side]))
		regclasses := make([]string, 0, len(copiedTables[side]))
		for _, table := range copiedTables[side] {
			names = append(names, `{`+table+`}`)
			regclasses = append(regclasses, `'{`+table+`}'::regclass`)
		}
		return d.run(ctx, tx,
			`SET LOCAL lock_timeout = '1s'`,
			`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation IN (`+strings.Join(regclasses, ", ")+`) AND mode <> 'AccessShareLock' AND pid <> pg_backend_pid()`,
			`LOCK TABLE `+strings.Join(names, ", ")+` IN EXCLUSIVE MODE`)
	case d.isMySQL():
		for _, table := range copiedTables[side] {
			var rows int64
			if err := tx.QueryRowContext(ctx, d.sql(`SELECT count(*) FROM {`+table+`} FOR UPDATE`)).Scan(&rows); err != nil {
				return err
			}
		}
	}
	return nil // SQLite's one writer is this transaction
}

// sequence returns how far a side's sequence has come.
func (d *database) sequence(ctx context.Context, tx *sql.Tx, side store.Side) (n int64, err error) {
	table := counted[side].table
	query := `SELECT coalesce(max(` + counted[side].column + `), 0) FROM {` + table + `}`
	switch {
	case d.isPostgres():
		var name string
		if err := tx.QueryRowContext(ctx, d.sql(`SELECT pg_get_serial_sequence('{`+table+`}', '`+counted[side].column+`')`)).Scan(&name); err != nil {
			return 0, err
		}
		query = `SELECT last_value FROM ` + name
	case d.kind == "sqlite":
		query = `SELECT coalesce(max(seq), 0) FROM ` + d.schema() + `sqlite_sequence WHERE name = '` + d.bare(table) + `'`
	}
	err = tx.QueryRowContext(ctx, d.sql(query)).Scan(&n)
	return n, err
}

// setSequence sets a side's sequence back. On MySQL that has to wait until the transaction
// has ended.
func (d *database) setSequence(ctx context.Context, tx *sql.Tx, side store.Side, n int64) error {
	table := counted[side].table
	switch {
	case d.isPostgres():
		return d.run(ctx, tx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence('{`+table+`}', '`+counted[side].column+`'), %d)`, max(n, 1)))
	case d.kind == "sqlite":
		return d.run(ctx, tx, fmt.Sprintf(`UPDATE `+d.schema()+`sqlite_sequence SET seq = %d WHERE name = '`+d.bare(table)+`'`, n))
	}
	return nil
}

// schema is the schema of the run's tables, with its dot; "" for none.
func (d *database) schema() string { return d.prefix[:strings.IndexByte(d.prefix, '.')+1] }

// bare is a table's name without the schema.
func (d *database) bare(table string) string { return d.prefix[len(d.schema()):] + table }

// readUndone reads what a restore of the producers' database is about to undo, and all
// transactions that it has.
func (d *database) readUndone(ctx context.Context, tx *sql.Tx) (undoneMessages, error) {
	now, err := d.readCommitted(ctx, tx, "")
	if err != nil {
		return undoneMessages{}, err
	}
	kept, err := d.readCommitted(ctx, tx, copyPrefix)
	if err != nil {
		return undoneMessages{}, err
	}
	for token := range kept.tokens {
		if !now.tokens[token] {
			return undoneMessages{}, errors.New("the copy has the transaction " + token + ", and the database has not")
		}
	}
	return undoneMessages{seen: now.tokens, gone: now.without(kept)}, nil
}

// readUndoneEffects reads the effects that a restore of the consumers' database is about to
// undo.
func (d *database) readUndoneEffects(ctx context.Context, tx *sql.Tx) (gone []effectName, err error) {
	kept := map[int64]bool{}
	err = verdict.EachRow(ctx, tx, d.sql(`SELECT n FROM {`+copyPrefix+`effect}`), func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		kept[n] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	err = verdict.EachRow(ctx, tx, d.sql(`SELECT n, kind, ref, version, token FROM {effect}`), func(rows *sql.Rows) error {
		var n int64
		var e effectName
		if err := rows.Scan(&n, &e.kind, &e.ref, &e.version, &e.token); err != nil {
			return err
		}
		if !kept[n] {
			gone = append(gone, e)
		}
		return nil
	})
	return gone, err
}
