package storetest

import (
	"database/sql"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// plainCases are about rows that other languages, migrations and users' triggers
// write, who know the table and nothing else.
var plainCases = []testCase{
	{name: "destination and body are enough", run: func(s *suite) {
		before := s.clock()
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, message_content) VALUES ('orders', 'plain text')`))
		after := s.clock()
		r := s.all()[0]
		if !r.MessageID.IsV7() || r.MessageID.Time().UnixMilli() < before/1000 || r.MessageID.Time().UnixMilli() > after/1000+1 {
			s.Errorf("got the message id %s of %s, want a UUIDv7 of now", r.MessageID, r.MessageID.Time())
		}
		if r.TimeStamp < before || r.TimeStamp > after {
			s.Errorf("got the time stamp %d, want one between %d and %d", r.TimeStamp, before, after)
		}
		if r.Destination != "orders" || string(r.Body) != "plain text" || r.Topic || r.Key != "" || r.Sequence != 0 || r.Headers != "" ||
			r.Status != store.Pending || r.Retry != 0 || r.Failures != 0 || r.NotBefore != 0 || r.LastError != "" {
			s.Errorf("got the row %+v, want the protocol's defaults", r)
		}
	}},
	{name: "a key's sequence and time stamp go on from those of Send, and back", run: func(s *suite) {
		const plain = `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`
		s.must(s.exec(s.db, plain))
		s.send(row("o", "k", ""), row("o", "k", ""))
		s.must(s.exec(s.db, plain))
		s.must(s.exec(s.db, plain+`, ('o', 'j', 'x'), ('o', 'k', 'x'), ('o', '', 'x')`))
		s.send(row("o", "k", ""))
		s.checkKeys(map[string]int{"o/k": 7, "o/j": 1})
		ids := field(s.all(), func(r store.Row) string { return r.MessageID.String() })
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != 9 {
			s.Errorf("got %d different message ids, want 9", n)
		}
	}},
	{name: "an own time stamp is kept, counted, and the key keeps the greatest", run: func(s *suite) {
		ahead := s.clock() + time.Hour.Microseconds()
		const plain = `INSERT INTO {qmessage} (destination, business_mark, time_stamp, message_content) VALUES ('o', 'k', ?, 'x')`
		for _, stamp := range []int64{5, ahead, 7} {
			s.must(s.exec(s.db, plain, stamp))
		}
		s.send(row("o", "k", ""))
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`))
		all := s.all()
		if got, want := field(all, func(r store.Row) int64 { return r.TimeStamp }), []int64{5, ahead, 7, ahead + 1, ahead + 2}; !slices.Equal(got, want) {
			s.Errorf("got the time stamps %d, want %d", got, want)
		}
		if got, want := field(all, func(r store.Row) int64 { return r.Sequence }), []int64{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
			s.Errorf("got the sequences %d, want %d", got, want)
		}
	}},
	{name: "an own message id is kept, in either case", run: func(s *suite) {
		lower, upper := waybill.NewID(), waybill.NewID()
		const plain = `INSERT INTO {qmessage} (message_id, destination, message_content) VALUES (?, 'o', 'x')`
		s.must(s.exec(s.db, plain, lower.String()))
		s.must(s.exec(s.db, plain, strings.ToUpper(upper.String())))
		if got := field(s.all(), messageID); !slices.Equal(got, []waybill.ID{lower, upper}) {
			s.Errorf("got the message ids %s, want %s and %s", got, lower, upper)
		}
		if err := s.exec(s.db, plain, upper.String()); err == nil {
			s.Error("got no error of the same id in another case, want one")
		}
		n, err := s.queue.Delete(s.Context(), []waybill.ID{lower, upper})
		s.must(err)
		if n != 2 {
			s.Errorf("got %d rows deleted by their ids, want 2", n)
		}
	}},
	{name: "a delayed row's id is minted for its time", run: func(s *suite) {
		s.send(row("o", "", "now"))
		due := s.clock() + (90 * 24 * time.Hour).Microseconds()
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, message_content, not_before) VALUES ('o', 'later', ?)`, due))
		now, later := s.all()[0], s.all()[1]
		if !later.MessageID.IsV7() || later.MessageID.Time().UnixMilli() != due/1000 {
			s.Errorf("got the message id %s of %v, want one of %v", later.MessageID, later.MessageID.Time(), time.UnixMicro(due))
		}
		_, err := s.queue.Delete(s.Context(), []waybill.ID{now.MessageID})
		s.must(err)
		floor, err := s.queue.Floor(s.Context())
		s.must(err)
		if floor != later.MessageID {
			s.Errorf("got the floor %s, want the delayed row's id", floor)
		}
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, message_content, not_before) VALUES ('o', 'past', 1)`))
		if past := s.all()[1]; past.MessageID.Compare(now.MessageID) < 0 {
			s.Errorf("got the id %s of a row whose time is past, want one above an older row's", past.MessageID)
		}
	}},
	{name: "an id that is far from the clock is refused", run: func(s *suite) {
		now := time.UnixMicro(s.clock())
		const plain = `INSERT INTO {qmessage} (message_id, destination, message_content, not_before) VALUES (?, 'o', 'x', ?)`
		for _, c := range []struct {
			name      string
			id        waybill.ID
			notBefore time.Time
			refused   bool
		}{
			{"days old", waybill.NewIDAt(now.Add(-8 * 24 * time.Hour)), time.UnixMicro(0), true},
			{"days old, and due now", waybill.NewIDAt(now.Add(-8 * 24 * time.Hour)), now, true},
			{"thirteen hours old", waybill.NewIDAt(now.Add(-13 * time.Hour)), time.UnixMicro(0), true},
			{"eleven hours old", waybill.NewIDAt(now.Add(-11 * time.Hour)), time.UnixMicro(0), false},
			{"eleven hours ahead", waybill.NewIDAt(now.Add(11 * time.Hour)), time.UnixMicro(0), false},
			{"thirteen hours ahead", waybill.NewIDAt(now.Add(13 * time.Hour)), time.UnixMicro(0), true},
			{"the highest", waybill.NewIDAt(time.UnixMilli(1<<48 - 1)), time.UnixMicro(0), true},
			{"of the lowest time", waybill.NewIDAt(time.UnixMilli(0)), time.UnixMicro(0), true},
			{"of its time next month", waybill.NewIDAt(now.Add(30 * 24 * time.Hour)), now.Add(30 * 24 * time.Hour), false},
			{"of now, due next month", waybill.NewIDAt(now), now.Add(30 * 24 * time.Hour), false},
			{"of its time in the year 9999", waybill.NewIDAt(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), false},
			{"of now, due never", waybill.NewIDAt(now), time.UnixMicro(1<<63 - 1), false},
		} {
			s.sub(c.name, func(s *suite) {
				err := s.exec(s.db, plain, c.id.String(), c.notBefore.UnixMicro())
				if refused := err != nil; refused != c.refused {
					s.Errorf("got error %v, want one: %v", err, c.refused)
				}
				if c.refused && err != nil && !strings.Contains(err.Error(), "12 hours") {
					s.Errorf("got error %v, want one that says what would do", err)
				}
				// A row that is complete comes from a restored table, and may be of any age.
				restored := waybill.NewIDAt(c.id.Time())
				s.must(s.exec(s.db, `
					INSERT INTO {qmessage} (message_id, destination, business_mark, sequence, time_stamp, message_content, not_before)
					VALUES (?, 'o', 'k', 1, 1, 'x', ?)`, restored.String(), c.notBefore.UnixMicro()))
			})
		}
	}},
	{name: "an old row stays what it is", run: func(s *suite) {
		r := s.sendBodies("a")[0]
		old := waybill.NewIDAt(time.UnixMicro(s.clock()).Add(-30 * 24 * time.Hour))
		s.must(s.exec(s.db, `UPDATE {qmessage} SET message_id = ? WHERE message_id = ?`, old.String(), r.ID.String()))
		s.must(s.queue.CountCopies(s.Context(), []int64{s.find(old).ID}))
		s.reject(old)
		id, found, err := s.queue.Resend(s.Context(), old, false)
		if !found || id != old || err != nil {
			s.Errorf("sending it again: got found %v, the id %s and error %v, want its own id", found, id, err)
		}
	}},
	{name: "a complete row is left as it is", run: func(s *suite) {
		id := waybill.NewID()
		s.must(s.exec(s.db, `
			INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, status, retry, failures, not_before, last_error)
			VALUES (?, 'o', 1, 'k', 77, 88, ?, 'x', 2, 3, 4, 5, 'why')`, id.String(), `{"a":"b"}`))
		got := s.find(id)
		got.ID = 0
		want := store.Row{MessageID: id, Destination: "o", Topic: true, Key: "k", Sequence: 77, TimeStamp: 88, Headers: `{"a":"b"}`, Body: got.Body,
			Status: store.Rejected, Retry: 3, Failures: 4, NotBefore: 5, LastError: "why"}
		if !slices.Equal(got.Body, []byte("x")) || got.Key != want.Key || got.Sequence != want.Sequence || got.TimeStamp != want.TimeStamp || got.Topic != want.Topic ||
			got.Headers != want.Headers || got.Status != want.Status || got.Retry != want.Retry || got.Failures != want.Failures ||
			got.NotBefore != want.NotBefore || got.LastError != want.LastError {
			s.Errorf("got the row %+v, want %+v", got, want)
		}
		s.send(row("o", "k", ""))
		all := s.all()
		if last := all[len(all)-1]; last.Sequence != 1 {
			s.Errorf("got the sequence %d of the key's first counted row, want 1: a complete row does not bump its key", last.Sequence)
		}
	}},
	{name: "a row that cannot be sent is refused", run: func(s *suite) {
		for _, values := range []string{
			`('ack.orders', 'x', 0, 0)`, `('Ack.orders', 'x', 0, 0)`, `('ACK.', 'x', 0, 0)`, `('', 'x', 0, 0)`,
			`('o', NULL, 0, 0)`, `('o', 'x', 2, 0)`, `('o', 'x', 0, 1)`,
		} {
			s.sub(values, func(s *suite) {
				if err := s.exec(s.db, `INSERT INTO {qmessage} (destination, message_content, dest_type, status) VALUES `+values); err == nil {
					s.Error("got no error, want one")
				}
			})
		}
		for _, id := range []string{"1d3c1e9c-6a0e-4f0e-9d0a-0123456789ab", "not a uuid", "0192f0c1-2345-7890-1234-0123456789ab"} {
			s.sub(id, func(s *suite) {
				if err := s.exec(s.db, `INSERT INTO {qmessage} (message_id, destination, message_content) VALUES (?, 'o', 'x')`, id); err == nil {
					s.Error("got no error of an id that is no UUIDv7, want one")
				}
			})
		}
		s.wantRowCount(0)
	}},
	{name: "a rollback takes the row and its key's bump with it", run: func(s *suite) {
		tx, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		const plain = `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`
		s.must(s.exec(tx, plain))
		s.must(tx.Rollback())
		s.must(s.exec(s.db, plain))
		s.checkKeys(map[string]int{"o/k": 1})
	}},
	{name: "concurrent writers of a key, plain and by Send, leave no gaps", run: func(s *suite) {
		const rounds = 20
		s.must(concurrently(s.workers(), func(worker int) error {
			for range rounds {
				err := s.inTx(func(tx *sql.Tx) error {
					if worker%2 == 0 {
						return s.insert(tx, row("o", "k", ""))
					}
					return s.exec(tx, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`)
				})
				if err != nil {
					return err
				}
			}
			return nil
		}))
		s.checkKeys(map[string]int{"o/k": rounds * s.workers()})
	}},
	{name: "an INSERT from a query is completed row by row", run: func(s *suite) {
		s.must(s.exec(s.db, `CREATE TABLE shipments (name varchar(50))`))
		s.must(s.exec(s.db, `INSERT INTO shipments (name) VALUES ('one'), ('two')`))
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) SELECT 'shipped', name, 'x' FROM shipments`))
		s.checkKeys(map[string]int{"shipped/one": 1, "shipped/two": 1})
	}},
}
