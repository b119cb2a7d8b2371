package storetest

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var schemaCases = []testCase{
	{name: "migrations can be run again", empty: true, run: func(s *suite) {
		for range 3 {
			s.migrate("")
		}
		s.wantSchema(nil, nil)
		s.send(row("o", "k", ""))
		s.migrate("")
		s.send(row("o", "k", ""))
		s.checkKeys(map[string]int{"o/k": 2})
	}},
	{name: "many processes can migrate at once", empty: true, run: func(s *suite) {
		s.must(concurrently(8, func(int) error {
			for _, side := range []store.Side{store.Producer, store.Consumer} {
				if err := store.Migrate(s.Context(), s.engine, s.dialect, "", side); err != nil {
					return err
				}
			}
			return nil
		}))
		s.wantSchema(nil, nil)
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`))
		s.checkKeys(map[string]int{"o/k": 1})
	}},
	{name: "a migration that was broken off anywhere can be run again", empty: true, run: func(s *suite) {
		conn := s.conn()
		for _, st := range s.dialect.CreateVersions(s.names) {
			for range 2 {
				s.must(s.exec(conn, st.SQL))
			}
		}
		for _, m := range s.dialect.Migrations(s.names) {
			for broken := range len(m.Statements) {
				for _, text := range m.Statements[:broken+1] {
					_, err := conn.ExecContext(s.Context(), text)
					s.must(err)
				}
			}
		}
		s.must(conn.Close())
		s.migrate("")
		s.checkWorks()
	}},
	{name: "missing tables are a SchemaError that says what to run", empty: true, run: func(s *suite) {
		tx, err := s.ledger.Begin(s.Context())
		s.must(err)
		defer tx.Rollback()
		_, recordErr := s.ledger.RecordOnce(s.Context(), tx, []store.Mark{mark("p", "", 1)})
		s.must(tx.Rollback())
		sender, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		insertErr := s.insert(sender, row("o", "", ""))
		s.must(sender.Rollback())
		_, scanErr := s.queue.Scan(s.Context(), 0, 1, 0)
		_, floorErr := s.queue.Floor(s.Context())
		for _, c := range []struct {
			name, side string
			err        error
		}{
			{"check the producer's tables", "producer", s.queue.CheckSchema(s.Context())}, {"check the consumer's tables", "consumer", s.ledger.CheckSchema(s.Context())},
			{"record", "consumer", recordErr}, {"insert", "producer", insertErr}, {"scan", "producer", scanErr}, {"floor", "producer", floorErr},
		} {
			s.sub(c.name, func(s *suite) {
				var schemaErr *waybill.SchemaError
				if !errors.As(c.err, &schemaErr) || !errors.Is(c.err, waybill.ErrSchema) || schemaErr.Side != c.side || schemaErr.Have != 0 {
					s.Fatalf("got error %v, want a SchemaError of the %s", c.err, c.side)
				}
				if want := "waybill init --side " + c.side; !strings.Contains(c.err.Error(), want) {
					s.Errorf("got error %q, want one that says %q", c.err, want)
				}
				s.wantCondition("the engine's error", c.err, store.NoTable)
			})
		}
	}},
	{name: "one side's tables are made without the other's", empty: true, run: func(s *suite) {
		s.must(store.Migrate(s.Context(), s.engine, s.dialect, "", store.Producer))
		s.wantSchema(nil, waybill.ErrSchema)
		s.send(row("o", "k", ""))
		s.must(store.Migrate(s.Context(), s.engine, s.dialect, "", store.Consumer))
		s.wantSchema(nil, nil)
		s.wantRowCount(1)
	}},
	{name: "tables of a newer version are left alone", run: func(s *suite) {
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			_, err := s.db.ExecContext(s.Context(), s.dialect.SetVersion(s.names, side, 1000).SQL)
			s.must(err)
			err = store.Migrate(s.Context(), s.engine, s.dialect, "", side)
			var schemaErr *waybill.SchemaError
			if !errors.As(err, &schemaErr) || schemaErr.Have != 1000 || schemaErr.Side != string(side) {
				s.Errorf("migrating the %s's newer tables: got error %v, want a SchemaError with version 1000", side, err)
			}
		}
		s.wantSchema(waybill.ErrSchema, waybill.ErrSchema)
		// The connection that migrated is fit for use, without a transaction or a lock on it.
		s.must(concurrently(s.workers(), func(int) error {
			err := store.Migrate(s.Context(), s.engine, s.dialect, "", store.Producer)
			if !errors.Is(err, waybill.ErrSchema) {
				return err
			}
			return nil
		}))
	}},
	{name: "tables with a prefix are tables of their own", empty: true, run: func(s *suite) {
		for _, prefix := range []string{"", "app_", "app2_", "a_prefix_of_20_chars"} {
			s.sub(prefix, func(s *suite) {
				one := s.with(prefix)
				one.wantSchema(waybill.ErrSchema, waybill.ErrSchema)
				one.migrate(prefix)
				one.wantSchema(nil, nil)
				one.checkWorks()
			})
		}
	}},
	{name: "a schema is made where it is missing, and used where it is there", empty: true, run: func(s *suite) {
		if s.h.Schema == nil {
			s.Skip("the harness names no Schema that migrations can make")
		}
		schema := s.h.Schema(s.T)
		for _, prefix := range []string{schema + ".", schema + ".mail_"} {
			s.sub(prefix, func(s *suite) {
				one := s.with(prefix)
				one.migrate(prefix)
				one.migrate(prefix)
				one.wantSchema(nil, nil)
				one.checkWorks()
			})
		}
	}},
	{name: "the printed script makes the same tables", empty: true, run: func(s *suite) {
		s.must(s.runScript(s.script("app_", store.ScriptOptions{})))
		one := s.with("app_")
		one.wantSchema(nil, nil)
		one.migrate("app_")
		one.checkWorks()
	}},
	{name: "a script takes the tables away once the outbox is empty, and they can be made again", empty: true, run: func(s *suite) {
		up, down := s.script("app_", store.ScriptOptions{}), s.script("app_", store.ScriptOptions{Down: true})
		one := s.with("app_")
		for range 2 {
			s.must(s.runScript(up))
			one.checkWorks()
			for range 2 {
				if err := s.runScript(down); err == nil || !strings.Contains(err.Error(), "the_outbox_has_no_messages") {
					s.Fatalf("got error %v where the outbox has messages, want one that says so", err)
				}
			}
			one.wantSchema(nil, nil)
			s.must(one.exec(s.db, `DELETE FROM {qmessage}`))
			one.keep(0, kept("a", store.Rejected))
			if err := s.runScript(down); err == nil || !strings.Contains(err.Error(), "no_consumer_keeps_messages") {
				s.Fatalf("got error %v where a consumer keeps messages, want one that says so", err)
			}
			s.must(one.exec(s.db, `DELETE FROM {n_rejected}`))
			s.must(s.runScript(down))
			one.wantSchema(waybill.ErrSchema, waybill.ErrSchema)
		}
		// Nothing is left in the way of a side alone.
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			s.must(s.runScript(s.script("app_", store.ScriptOptions{Sides: []store.Side{side}})))
		}
		one.checkWorks()
		s.must(s.runScript(s.script("app_", store.ScriptOptions{Sides: []store.Side{store.Consumer}, Down: true})))
		one.wantSchema(nil, waybill.ErrSchema)
	}},
	{name: "a script upgrades tables of version 1", empty: true, run: func(s *suite) {
		s.fromVersion1()
		s.must(s.runScript(s.script("", store.ScriptOptions{From: 1})))
		s.wantSchema(nil, nil)
		s.checkVersion1Rows()
	}},
	{name: "tables of version 1 go on with what they hold", empty: true, run: func(s *suite) {
		s.fromVersion1()
		s.migrate("")
		s.wantSchema(nil, nil)
		s.checkVersion1Rows()
	}},
	{name: "a migration from version 1 that was broken off anywhere can be run again", empty: true, run: func(s *suite) {
		s.fromVersion1()
		conn := s.conn()
		for _, m := range s.dialect.Migrations(s.names) {
			if m.Version == 1 {
				continue
			}
			for broken := range len(m.Statements) {
				for _, text := range m.Statements[:broken+1] {
					_, err := conn.ExecContext(s.Context(), text)
					s.must(err)
				}
			}
		}
		s.must(conn.Close())
		s.migrate("")
		s.checkVersion1Rows()
	}},
	{name: "tables of version 1 are migrated by many processes at once", empty: true, run: func(s *suite) {
		s.fromVersion1()
		s.must(concurrently(8, func(int) error {
			return errors.Join(store.Migrate(s.Context(), s.db, s.dialect, "", store.Producer), store.Migrate(s.Context(), s.db, s.dialect, "", store.Consumer))
		}))
		s.checkVersion1Rows()
	}},
	{name: "an outbox has an identity of its own, which migrations leave as it is", run: func(s *suite) {
		first, err := s.queue.Identity(s.Context())
		s.must(err)
		if !regexp.MustCompile(`^[a-z0-9]{16,64}$`).MatchString(first) {
			s.Errorf("got the identity %q, want lower-case letters and digits", first)
		}
		s.migrate("")
		again, err := s.queue.Identity(s.Context())
		s.must(err)
		if again != first {
			s.Errorf("got the identity %q after another migration, want %q", again, first)
		}
		s.migrate("other_")
		other, err := s.with("other_").queue.Identity(s.Context())
		s.must(err)
		if other == first {
			s.Errorf("got the identity %q twice, want another one for another outbox", other)
		}
	}},
	{name: "another relay of an outbox's identity is noted with the time", run: func(s *suite) {
		holder, _, err := s.queue.Twin(s.Context())
		s.must(err)
		if holder != "" {
			s.Errorf("got the twin %q of a new outbox, want none", holder)
		}
		for _, name := range []string{"host/1/A", "hö'st/2/B", strings.Repeat("🚚", 100)} {
			s.must(s.queue.NoteTwin(s.Context(), name))
			holder, ago, err := s.queue.Twin(s.Context())
			s.must(err)
			if !strings.HasPrefix(name, holder) || holder == "" || ago < 0 || ago > time.Minute {
				s.Errorf("got the twin %q of %v ago, want %q now", holder, ago, name)
			}
		}
	}},
	{name: "a canceled migration leaves its connection fit for use", empty: true, run: func(s *suite) {
		for range 5 {
			ctx, cancel := context.WithCancel(s.Context())
			done := make(chan error, 1)
			go func() { done <- store.Migrate(ctx, s.engine, s.dialect, "", store.Producer) }()
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				s.Errorf("got error %v of a canceled migration, want context.Canceled or none", err)
			}
		}
		s.migrate("")
		s.wantSchema(nil, nil)
		s.must(concurrently(s.workers(), func(int) error {
			return s.inTx(func(tx *sql.Tx) error { return s.insert(tx, row("o", "k", "")) })
		}))
	}},
}

// conn is a connection of the test's own, for statements that belong to one session.
func (s *suite) conn() *sql.Conn {
	s.Helper()
	conn, err := s.db.Conn(s.Context())
	s.must(err)
	return conn
}

// runScript runs a script on one connection, as the database's client does.
// script is a script with a line of the client's own taken off, which the tests are not.
func (s *suite) script(prefix string, o store.ScriptOptions) string {
	s.Helper()
	script, err := store.Script(s.dialect, prefix, o)
	s.must(err)
	return strings.TrimPrefix(script, s.dialect.Capabilities().OrStop)
}

// runScript runs a script's statements on one connection until one fails.
func (s *suite) runScript(script string) error {
	s.Helper()
	conn := s.conn()
	defer conn.Close()
	for _, text := range statements(script) {
		if _, err := conn.ExecContext(s.Context(), text); err != nil {
			_, _ = conn.ExecContext(s.Context(), `ROLLBACK`) // as when its client ends
			return err
		}
	}
	return nil
}

func (s *suite) fromVersion1() {
	s.Helper()
	if s.h.Version1 == "" {
		s.Skip("the harness has no tables of version 1")
	}
	s.must(s.runScript(s.h.Version1))
}

// checkVersion1Rows works with what the scripts of version 1 hold, in qmessage:
//
//	019b0000-0000-7000-8000-000000000001 orders, no key
//	019b0000-0000-7000-8000-000000000002 orders (queue), key k, sequence 1, time stamp 1000
//	019b0000-0000-7000-8000-000000000003 prices (topic), key k, sequence 1, time stamp 2000
//	019b0000-0000-7000-8000-000000000004 orders (queue), key k, sequence 2, time stamp 9000000000000001, rejected
//
// qmessage_key the two keys with their last numbers, qrelay a free lease with the cursor 2;
// in n1_record of the consumer shipping and the producer shop
// 019b0000-0000-7000-8000-0000000000a1, in n2_record its states of orders and prices, key k,
// of 019b0000-0000-7000-8000-0000000000a2, time stamp 1500; in n_horizon the floor
// 019b0000-0000-7000-8000-000000000001 of shop.
func (s *suite) checkVersion1Rows() {
	s.Helper()
	parse := func(end string) waybill.ID {
		id, err := waybill.ParseID("019b0000-0000-7000-8000-0000000000" + end)
		s.must(err)
		return id
	}
	s.wantRowCount(4)
	if r := s.find(parse("04")); r.Status != store.Rejected || r.Sequence != 2 || r.LastError != "no such order" {
		s.Errorf("got the rejected row %+v, want it as it was", r)
	}
	if r := s.find(parse("01")); string(r.Body) != "first" || r.Headers != `{"a":"b"}` {
		s.Errorf("got the row %+v, want it as it was", r)
	}
	lease, err := s.queue.Lease(s.Context(), "relay")
	s.must(err)
	if lease.Cursor != 2 {
		s.Errorf("got the lease %+v, want the cursor 2", lease)
	}
	// Keys go on above what they had, both as a queue's and as a topic's, and from there
	// on each of its own.
	topic := func(destination string) store.NewRow {
		r := row(destination, "k", "")
		r.Topic = true
		return r
	}
	before := s.clock()
	rows := []store.NewRow{row("orders", "k", ""), topic("orders"), topic("prices"), row("prices", "k", ""), topic("orders")}
	s.send(rows[:1]...)
	s.send(rows[1:]...)
	s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, dest_type, business_mark, message_content) VALUES ('orders', 1, 'k', 'x')`))
	for i, want := range []int64{3, 3, 2, 2, 4} {
		r := s.find(rows[i].ID)
		if r.Sequence != want || r.TimeStamp < before && r.Destination == "prices" || r.TimeStamp <= 9000000000000001 && r.Destination == "orders" {
			s.Errorf("message %d: got the sequence %d and the time stamp %d, want %d and one above the last", i, r.Sequence, r.TimeStamp, want)
		}
	}
	if last := s.all()[9]; last.Sequence != 5 || !last.Topic {
		s.Errorf("got %+v of plain SQL, want the topic's sequence 5", last)
	}
	// Records keep out what was applied, whichever it is.
	old := store.Mark{ID: parse("a1"), Producer: "shop", Destination: "orders"}
	s.wantVerdicts(s.once(old), store.Duplicate)
	for _, destination := range []string{"orders", "prices"} {
		for _, topic := range []bool{false, true} {
			state := store.Mark{ID: parse("a2"), Producer: "shop", Destination: destination, Topic: topic, Key: "k", TimeStamp: 1500}
			older := store.Mark{ID: waybill.NewID(), Producer: "shop", Destination: destination, Topic: topic, Key: "k", TimeStamp: 1499}
			s.wantVerdicts(s.latest(state), store.Duplicate)
			s.wantVerdicts(s.latest(older), store.Superseded)
		}
	}
	horizons, err := s.ledger.Horizons(s.Context())
	s.must(err)
	if len(horizons) != 1 || horizons[0].Producer != "shop" || horizons[0].Floor != parse("01") {
		s.Errorf("got the horizons %+v, want shop's floor", horizons)
	}
	s.checkWorks()
}

// wantSchema compares what CheckSchema says of both sides; nil or ErrSchema.
func (s *suite) wantSchema(producer, consumer error) {
	s.Helper()
	if err := s.queue.CheckSchema(s.Context()); !errors.Is(err, producer) {
		s.Errorf("the producer's tables: got error %v, want %v", err, producer)
	}
	if err := s.ledger.CheckSchema(s.Context()); !errors.Is(err, consumer) {
		s.Errorf("the consumer's tables: got error %v, want %v", err, consumer)
	}
}

// checkWorks uses every table of a prefix, its trigger too.
func (s *suite) checkWorks() {
	s.Helper()
	before := len(s.all())
	s.send(row("o", "k", "a"))
	s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'b')`))
	last := row("o", "k", "c")
	s.send(last, row("o", "", "d"))
	if r := s.find(last.ID); r.Sequence != 3 {
		s.Errorf("got the sequence %d of a key's third message, want 3", r.Sequence)
	}
	s.wantRowCount(before + 4)
	if identity, err := s.queue.Identity(s.Context()); err != nil || identity == "" {
		s.Errorf("got the identity %q and error %v", identity, err)
	}
	if _, err := s.queue.AcquireLease(s.Context(), "relay", "me", 0); err != nil {
		s.Error(err)
	}
	m := mark("p", "works", 10)
	s.wantVerdicts(s.once(m), store.Fresh)
	s.wantVerdicts(s.latest(m), store.Fresh)
	s.wantVerdicts(s.latest(m), store.Duplicate)
	s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
	if _, err := s.ledger.Prune(s.Context(), m.ID.Time(), 0, 1); err != nil {
		s.Error(err)
	}
	if _, err := s.queue.Count(s.Context()); err != nil {
		s.Error(err)
	}
}

// statements splits a script as the databases' clients do: at a semicolon at the end
// of a line, outside triggers and functions, or at what a line with DELIMITER names.
func statements(script string) []string {
	var found []string
	var text strings.Builder
	delimiter := ";"
	for line := range strings.Lines(script) {
		if name, ok := strings.CutPrefix(line, "DELIMITER "); ok {
			delimiter = strings.TrimSpace(name)
			continue
		}
		text.WriteString(line)
		whole := strings.TrimSpace(text.String())
		if last := strings.TrimSpace(line); strings.HasSuffix(last, delimiter) && !(delimiter == ";" && inside(whole)) {
			found = append(found, strings.TrimSuffix(whole, delimiter))
			text.Reset()
		}
	}
	return found
}

// inside reports whether text ends within the body of a trigger or a quoted function.
func inside(text string) bool {
	trigger := strings.Contains(text, "CREATE TRIGGER") && strings.Contains(text, "BEGIN") && !strings.HasSuffix(text, "\nEND;")
	return trigger || strings.Count(text, "$fill$")%2 == 1 || strings.Count(text, "$$")%2 == 1
}
