package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// olderCases work with tables of version 1, and upgrade them while others use them.
var olderCases = []testCase{
	{name: "tables of version 1 are served as they are", empty: true, run: func(s *suite) {
		s.older()
		before := s.clock()
		rows := []store.NewRow{row("orders", "k", "a"), row("mails", "", "b")}
		rows[1].Headers = `{"a":"b"}`
		topic, own := row("prices", "k", "c"), row("orders", "new", "d")
		topic.Topic, own.TimeStamp = true, 7
		s.sendPlain(rows...)
		s.sendPlain(topic, row("orders", "k", "e"), own, row("orders", "new", "f"))
		for i, want := range []struct {
			body     string
			sequence int64
		}{{"a", 3}, {"b", 0}, {"c", 2}, {"e", 4}, {"d", 1}, {"f", 2}} {
			all := s.all()
			at := slices.IndexFunc(all, func(r store.Row) bool { return string(r.Body) == want.body })
			if at < 0 {
				s.Fatalf("message %d: got no row %q among %q", i, want.body, field(all, body))
			}
			r := all[at]
			stamped := r.TimeStamp >= before
			if want.body == "d" {
				stamped = r.TimeStamp == 7
			}
			if r.Sequence != want.sequence || !stamped || want.body == "b" && r.Headers != `{"a":"b"}` || r.Topic != (want.body == "c") {
				s.Errorf("got %+v, want the sequence %d and a time stamp of its own", r, want.sequence)
			}
		}
		if identity, err := s.queue.Identity(s.Context()); identity != "" || err != nil {
			s.Errorf("got the identity %q and error %v, want none", identity, err)
		}
		if twin, _, err := s.queue.Twin(s.Context()); twin != "" || err != nil {
			s.Errorf("got the twin %q and error %v, want none", twin, err)
		}
		for _, c := range []func(context.Context) ([]store.Finding, error){
			s.queue.Check, func(ctx context.Context) ([]store.Finding, error) {
				return s.ledger.Check(ctx, waybill.Once, waybill.Latest)
			},
		} {
			found, err := c(s.Context())
			s.must(err)
			told := slices.ContainsFunc(found, func(f store.Finding) bool { return strings.Contains(f.Text, "older version") })
			if !told || store.Blocked(found) != nil {
				s.Errorf("got the findings %+v, want one that tells of the older version and none that blocks", found)
			}
		}
		s.checkOlderAnswers()
		s.checkOlderRecords()
	}},
	{name: "services that make their tables when they start upgrade them no further than others can follow", empty: true, run: func(s *suite) {
		ensure := func(prefix string) {
			s.Helper()
			for _, side := range []store.Side{store.Producer, store.Consumer} {
				s.must(store.EnsureTables(s.Context(), s.engine, s.dialect, prefix, side))
			}
		}
		ensure("fresh_")
		fresh := s.with("fresh_")
		fresh.wantSchema(nil, nil)
		fresh.checkWorks()
		s.older()
		ensure("")
		s.older()
		s.migrate("")
		ensure("")
		s.must(s.queue.CheckSchema(s.Context()))
		if s.queue.Older() {
			s.Error("got older tables after their migration, want none")
		}
	}},
	{name: "tables of a newer version that serve this one are no hindrance", run: func(s *suite) {
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			_, err := s.db.ExecContext(s.Context(), s.dialect.SetVersion(s.names, side, 3).SQL)
			s.must(err)
			_, err = s.db.ExecContext(s.Context(), s.dialect.SetVersion(s.names, side+".3", 2).SQL)
			s.must(err)
		}
		s.wantSchema(nil, nil)
		s.migrate("")
		v, err := store.ReadVersion(s.Context(), s.engine, s.dialect, s.names, store.Producer)
		s.must(err)
		if want := (store.Version{Have: 3, CompatibleFrom: 2, Newest: 2, Serves: true}); v != want {
			s.Errorf("got %+v, want %+v", v, want)
		}
		s.checkWorks()
	}},
	{name: "an upgrade that was broken off leaves tables that programs of their version go on with", empty: true, run: func(s *suite) {
		if s.dialect.BeginMigration() != "" {
			s.Skip("a migration is a transaction here, and leaves nothing")
		}
		if s.h.Engine != nil {
			s.Skip("this is about tables, and not about sessions")
		}
		migrations := s.dialect.Migrations(s.names)
		for _, m := range migrations {
			for done := range len(m.Statements) {
				if m.Version == 1 {
					continue
				}
				s.sub(fmt.Sprintf("the %s's after %d of %d steps", m.Side, done, len(m.Statements)), func(s *suite) {
					s.fromVersion1()
					conn := s.conn()
					for _, text := range slices.Concat(m.Prepare, m.Added, m.Hold, m.Statements[:done], m.Release) {
						s.must(s.exec(conn, text))
					}
					s.must(conn.Close())
					s.checkBrokenOff()
					s.migrate("")
					s.wantSchema(nil, nil)
					s.checkVersion1Rows()
					for _, m := range slices.Backward(migrations) {
						for _, text := range m.Undo {
							s.must(s.exec(s.db, text))
						}
					}
					s.must(s.exec(s.db, `DROP TABLE {waybill_version}`))
				})
			}
		}
	}},
	{name: "an upgrade breaks no statement of those who go on meanwhile", empty: true, run: upgradeUnderLoad},
	{name: "an upgrade gives way while a transaction keeps the tables", empty: true, run: func(s *suite) {
		s.needsWriters("nobody can write while another transaction does")
		if s.h.Engine != nil {
			s.Skip("this is about locks, and the strange session ends what waits for them")
		}
		s.older()
		open, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer open.Rollback()
		s.must(store.InsertPlain(s.Context(), open, s.dialect, s.names, []store.NewRow{row("orders", "kept", "")}))
		record := s.mark("kept")
		guard, err := s.ledger.Begin(s.Context())
		s.must(err)
		defer guard.Rollback()
		_, err = s.ledger.RecordLatest(s.Context(), guard, []store.Mark{record})
		s.must(err)

		upgraded := make(chan error, 2)
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			go func() { upgraded <- store.Migrate(s.Context(), s.engine, s.dialect, "", side) }()
		}
		// Others get through, again and again: more often than one try of the upgrade would
		// let them.
		for i := range 2 {
			began := time.Now()
			for time.Since(began) < time.Second {
				s.sendPlain(row("orders", fmt.Sprint("free ", i), ""))
				s.latest(s.mark(fmt.Sprint("free ", i)))
				select {
				case err := <-upgraded:
					s.Fatalf("got an upgrade with error %v, want none while its tables are in use", err)
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
		s.must(open.Commit())
		s.must(guard.Commit(s.Context()))
		s.must(<-upgraded)
		s.must(<-upgraded)
		s.wantVerdicts(s.latest(record), store.Duplicate)
		if s.ledger.Older() {
			s.Error("got older tables after a guard has met the upgraded ones, want none")
		}
		s.send(row("orders", "kept", ""))
		s.checkAllKeys()
	}},
}

// older makes tables of version 1 where there are none, and finds that they will do.
func (s *suite) older() {
	s.Helper()
	if v, err := store.ReadVersion(s.Context(), s.engine, s.dialect, s.names, store.Producer); err != nil || v.Have == 0 {
		s.fromVersion1()
	}
	s.wantSchema(nil, nil)
	if !s.queue.Older() || !s.ledger.Older() {
		s.Fatal("got tables of this version, want older ones")
	}
}

// checkBrokenOff works, in transactions that are rolled back, with the tables of version 1
// of checkVersion1Rows, an upgrade of which was broken off, after a service has started that
// ensures its tables. Where keys cannot be counted, the error has to say what to do.
func (s *suite) checkBrokenOff() {
	s.Helper()
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		s.must(store.EnsureTables(s.Context(), s.engine, s.dialect, "", side))
	}
	s.older()
	tx, err := s.db.BeginTx(s.Context(), nil)
	s.must(err)
	defer tx.Rollback()
	for _, r := range []struct {
		row  store.NewRow
		want int64
	}{{row("orders", "", "plain"), 0}, {row("orders", "k", "queue"), 3}, {row("prices", "k", "topic"), 2}} {
		r.row.Topic = r.row.Destination == "prices"
		err := store.InsertPlain(s.Context(), tx, s.dialect, s.names, []store.NewRow{r.row})
		if err != nil && r.want > 0 && strings.Contains(err.Error(), "waybill init --side producer") {
			continue
		}
		s.must(err)
		var sequence int64
		s.must(tx.QueryRowContext(s.Context(), s.bind(s.names.SQL(`SELECT sequence FROM {qmessage} WHERE message_id = ?`)), r.row.ID.String()).Scan(&sequence))
		if sequence != r.want {
			s.Errorf("%s: got the sequence %d, want %d", r.row.Body, sequence, r.want)
		}
	}
	s.must(tx.Rollback())
	guard, err := s.ledger.Begin(s.Context())
	s.must(err)
	defer guard.Rollback()
	stale, newer := s.mark("k"), s.mark("k")
	stale.TimeStamp, newer.TimeStamp = 1400, 1600
	for _, c := range []struct {
		mark store.Mark
		want store.Verdict
	}{{stale, store.Superseded}, {newer, store.Fresh}} {
		got, err := s.ledger.RecordLatest(s.Context(), guard, []store.Mark{c.mark})
		s.must(err)
		s.wantVerdicts(got, c.want)
	}
}

// sendPlain writes rows in a transaction of their own, as an outbox does that knows no
// version.
func (s *suite) sendPlain(rows ...store.NewRow) {
	s.Helper()
	s.must(s.inTxRetried(func(tx *sql.Tx) error {
		return store.InsertPlain(s.Context(), tx, s.dialect, s.names, rows)
	}))
}

// mark is a state of a key.
func (s *suite) mark(key string) store.Mark {
	return store.Mark{ID: waybill.NewID(), Producer: s.ledger.Source("shop", "", false), Destination: "orders", Key: key, TimeStamp: 1}
}

// checkOlderAnswers does what there is no place for in older tables, and what can be done
// without it.
func (s *suite) checkOlderAnswers() {
	s.Helper()
	ctx := s.Context()
	rejected, err := waybill.ParseID("019b0000-0000-7000-8000-000000000004")
	s.must(err)
	if err := s.queue.SaveAnswers(ctx, []store.Answer{{MessageID: rejected, Consumer: "c"}}); !errors.Is(err, waybill.ErrSchema) {
		s.Errorf("got error %v of answers, want ErrSchema", err)
	}
	answers, err := s.queue.Answers(ctx, []waybill.ID{rejected})
	s.must(err)
	answered, err := s.queue.Answered(ctx, waybill.ID{}, 10)
	s.must(err)
	rows, err := s.queue.ScanUnanswered(ctx, "orders", false, "c", 0, 1000, 10)
	s.must(err)
	if len(answers)+len(answered)+len(rows) > 0 {
		s.Errorf("got %v, %v and %v, want no answers", answers, answered, rows)
	}
	s.must(s.queue.DeleteAnswers(ctx, []waybill.ID{rejected}))
	_, found, err := s.queue.Resend(ctx, rejected, false)
	s.must(err)
	deleted, err := s.queue.DeleteAnswered(ctx, []waybill.ID{rejected})
	s.must(err)
	if !found || deleted != 1 {
		s.Errorf("got %v and %d, want the rejected row to be sent again, and deleted", found, deleted)
	}
}

// checkOlderRecords works with the records of version 1, as they are and upgraded.
func (s *suite) checkOlderRecords() {
	s.Helper()
	id, err := waybill.ParseID("019b0000-0000-7000-8000-0000000000a2")
	s.must(err)
	if source := s.ledger.Source("shop", "ack.shop.7q3mk2xw9d4hznsb6t5vfc8a", true); source != "shop" {
		s.Errorf("got the source %q, want the producer's name, as older programs have it", source)
	}
	newer := store.Mark{ID: waybill.NewID(), Producer: "shop", Destination: "prices", Topic: true, Key: "k", TimeStamp: 1501}
	for _, topic := range []bool{false, true} {
		state := store.Mark{ID: id, Producer: "shop", Destination: "prices", Topic: topic, Key: "k", TimeStamp: 1500}
		stale := state
		stale.ID, stale.TimeStamp = waybill.NewID(), 1499
		s.wantVerdicts(s.latest(state), store.Duplicate)
		s.wantVerdicts(s.latest(stale), store.Superseded)
	}
	s.wantVerdicts(s.latest(newer), store.Fresh)
	once := store.Mark{ID: waybill.NewID(), Producer: "shop", Destination: "orders"}
	s.wantVerdicts(s.once(once), store.Fresh)
	s.must(store.Migrate(s.Context(), s.engine, s.dialect, "", store.Consumer))
	s.wantVerdicts(s.once(once), store.Duplicate)
	s.wantVerdicts(s.latest(newer), store.Duplicate)
	if source := s.ledger.Source("shop", "ack.shop.7q3mk2xw9d4hznsb6t5vfc8a", false); s.ledger.Older() || source != "shop.7q3mk2xw9d4hznsb6t5vfc8a" {
		s.Errorf("got the source %q, want that of the outbox's identity", source)
	}
}

// checkAllKeys wants the sequences of all keys to be without gaps, and their time stamps to
// rise.
func (s *suite) checkAllKeys() {
	s.Helper()
	rows := map[string]int{}
	for _, r := range s.all() {
		if r.Key != "" {
			rows[r.Destination+"/"+r.Key]++
		}
	}
	s.checkKeys(rows)
}

// upgradeUnderLoad has senders, programs of plain SQL and guards go on while both sides
// are upgraded. No statement of theirs may fail but by a conflict; guards may fail once, as
// they meet the new tables.
func upgradeUnderLoad(s *suite) {
	s.older()
	const keys, share = 5, 40
	var upgraded atomic.Bool
	var sent, guarded atomic.Int64
	marks := make([]store.Mark, 3)
	for i := range marks {
		marks[i] = s.mark(fmt.Sprint("key ", i))
	}
	workers := max(s.workers()/2, 3)
	loaded, done := make(chan struct{}), make(chan error, 1)
	goOn := sync.OnceFunc(func() { close(loaded) })
	go func() {
		done <- concurrently(workers+1, func(worker int) error {
			if worker == workers {
				<-loaded
				err := errors.Join(store.Migrate(s.Context(), s.engine, s.dialect, "", store.Producer), store.Migrate(s.Context(), s.engine, s.dialect, "", store.Consumer))
				upgraded.Store(true)
				return err
			}
			for after := 0; after < share; {
				if upgraded.Load() {
					after++
				}
				if err := s.loadOnce(worker, keys, marks, &guarded); err != nil {
					goOn()
					return err
				}
				if sent.Add(1) >= share {
					goOn()
				}
			}
			return nil
		})
	}()
	s.must(<-done)
	s.wantSchema(nil, nil)
	if s.queue.Older() || s.ledger.Older() {
		s.Error("got older tables, want upgraded ones")
	}
	s.checkAllKeys()
	if guarded.Load() == 0 {
		s.Error("no guard has run")
	}
}

// loadOnce is one worker's next transaction.
func (s *suite) loadOnce(worker, keys int, marks []store.Mark, guarded *atomic.Int64) error {
	key := fmt.Sprint("key ", time.Now().UnixNano()%int64(keys))
	switch worker % 3 {
	case 0:
		return s.inTxRetried(func(tx *sql.Tx) error {
			return store.InsertPlain(s.Context(), tx, s.dialect, s.names, []store.NewRow{row("load", key, "")})
		})
	case 1:
		return s.inTxRetried(func(tx *sql.Tx) error {
			return s.exec(tx, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('load', ?, 'x')`, key)
		})
	}
	guarded.Add(1)
	for failed := 0; ; failed++ {
		_, err := s.guardIn(true, func(tx store.Session) ([]store.Verdict, error) {
			return s.ledger.RecordLatest(s.Context(), tx, marks)
		})
		if err == nil || failed > 0 {
			return err
		}
	}
}
