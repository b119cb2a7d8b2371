package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var readCases = []testCase{
	{name: "Scan goes on after a row, in order of id, whatever the status", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c", "d", "e")
		s.reject(rows[1].ID)
		got, err := s.queue.Scan(s.Context(), 0, 2, 0)
		s.must(err)
		s.wantBodies(got, "a", "b")
		got, err = s.queue.Scan(s.Context(), got[1].ID, 10, 0)
		s.must(err)
		s.wantBodies(got, "c", "d", "e")
		if !rising(field(got, rowID)) {
			s.Errorf("got the ids %d, want them in order", field(got, rowID))
		}
		got, err = s.queue.Scan(s.Context(), got[2].ID, 10, 0)
		s.must(err)
		s.wantBodies(got)
	}},
	{name: "a scan ends at its bytes, with one row at least, and goes on where it ended", run: readBytes},
	{name: "ScanDestination reads the pending, due rows of one destination within bounds", run: func(s *suite) {
		later := row("o", "", "later")
		later.NotBefore = s.clock() + time.Hour.Microseconds()
		topic := row("o", "", "topic")
		topic.Topic = true
		past := row("o", "", "past")
		past.NotBefore = 1
		rows := []store.NewRow{row("o", "", "1"), row("O", "", "other"), row("o", "", "rejected"), later, topic, past, row("o ", "", "other"), row("o", "", "2"), row("o", "", "3")}
		s.send(rows...)
		s.reject(rows[2].ID)
		all := s.all()
		end := all[len(all)-1].ID
		read := func(topic bool, after, upTo int64, limit int) []store.Row {
			got, err := s.queue.ScanDestination(s.Context(), "o", topic, after, upTo, limit, 0)
			s.must(err)
			return got
		}
		s.wantBodies(read(false, 0, end, 10), "1", "past", "2", "3")
		s.wantBodies(read(false, 0, end, 2), "1", "past")
		s.wantBodies(read(false, all[0].ID, end-1, 10), "past", "2")
		s.wantBodies(read(true, 0, end, 10), "topic")
	}},
	{name: "ScanDue reads rows whose time has come, in order of time", run: readDue},
	{name: "Rows reads those of the ids that are pending, however many are asked for", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c", "d")
		s.reject(rows[2].ID)
		all := s.all()
		ids := []int64{all[3].ID, all[0].ID, all[2].ID, all[0].ID}
		for i := range int64(s.dialect.Capabilities().MaxBatch + 10) {
			ids = append(ids, 1_000_000+i)
		}
		got, err := s.queue.Rows(s.Context(), ids, 0)
		s.must(err)
		s.wantBodies(got, "a", "d")
		got, err = s.queue.Rows(s.Context(), ids, 1)
		s.must(err)
		s.wantBodies(got, "a")
		got, err = s.queue.Rows(s.Context(), nil, 0)
		s.must(err)
		s.wantBodies(got)
	}},
	{name: "Sweep reads pending rows within bounds without their bodies", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c", "d", "e")
		s.reject(rows[2].ID)
		all := s.all()
		got, err := s.queue.Sweep(s.Context(), all[0].ID, all[3].ID, 10)
		s.must(err)
		if ids := field(got, messageID); !slices.Equal(ids, []waybill.ID{rows[1].ID, rows[3].ID}) {
			s.Errorf("got %s swept, want %s and %s", ids, rows[1].ID, rows[3].ID)
		}
		for _, r := range got {
			if len(r.Body) != 0 || r.Headers != "" || r.Destination != "o" || r.TimeStamp == 0 {
				s.Errorf("got the row %+v, want it without headers and body", r)
			}
		}
		got, err = s.queue.Sweep(s.Context(), 0, all[4].ID, 1)
		s.must(err)
		if len(got) != 1 || got[0].ID != all[0].ID {
			s.Errorf("got %v swept, want the first row alone", got)
		}
	}},
	{name: "ScanNewest reads pending rows by their message ids, without their bodies", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c", "d", "e", "f")
		early := row("o", "", "early")
		early.ID = waybill.NewIDAt(time.Now().Add(-time.Hour))
		s.send(early)
		s.reject(rows[2].ID)
		read := func(after, below waybill.ID, limit int) []waybill.ID {
			s.Helper()
			got, err := s.queue.ScanNewest(s.Context(), after, below, limit)
			s.must(err)
			for _, r := range got {
				if len(r.Body) != 0 || r.Headers != "" || r.Destination != "o" || r.ID == 0 {
					s.Errorf("got the row %+v, want it without headers and body", r)
				}
			}
			return field(got, messageID)
		}
		if got := read(rows[0].ID, rows[5].ID, 10); !slices.Equal(got, []waybill.ID{rows[1].ID, rows[3].ID, rows[4].ID}) {
			s.Errorf("got %s, want those of b, d and e", got)
		}
		if got := read(waybill.ID{}, rows[5].ID, 2); !slices.Equal(got, []waybill.ID{early.ID, rows[0].ID}) {
			s.Errorf("got %s, want the two lowest", got)
		}
	}},
	{name: "ScanPast passes destinations by and tells which ids are missing", run: func(s *suite) {
		topic := row("o", "", "")
		topic.Topic = true
		quoted := row(`"o", \ 'x`, "", "")
		rows := []store.NewRow{row("o", "", ""), row("p", "", ""), topic, quoted, row("o", "", ""), row("o", "", ""), row("O", "", ""), row("p", "", ""), row("o", "", ""), row("o", "", "")}
		s.send(rows...)
		all := s.all()
		id := func(i int) int64 { return all[i].ID }
		s.reject(rows[1].ID)
		_, err := s.queue.Delete(s.Context(), []waybill.ID{rows[4].ID})
		s.must(err)
		read := func(after int64, size int, passed ...store.Lane) []store.Passed {
			s.Helper()
			got, err := s.queue.ScanPast(s.Context(), passed, after, size)
			s.must(err)
			return got
		}
		o, q := store.Lane{Destination: "o"}, store.Lane{Destination: quoted.Destination}
		passed := func(row, before int64, wanted bool) store.Passed {
			return store.Passed{ID: row, Before: before, Wanted: wanted}
		}
		for _, c := range []struct {
			what      string
			got, want []store.Passed
		}{
			{"past o", read(id(0)-1, 100, o), []store.Passed{
				passed(id(2), id(1), true), passed(id(3), id(2), true), passed(id(5), id(3), false),
				passed(id(6), id(5), true), passed(id(7), id(6), true), passed(id(9), id(8), false),
			}},
			{"past o and another one", read(id(0)-1, 100, o, q), []store.Passed{
				passed(id(2), id(1), true), passed(id(5), id(3), false), passed(id(6), id(5), true),
				passed(id(7), id(6), true), passed(id(9), id(8), false),
			}},
			{"a few rows", read(id(0)-1, 2, o), []store.Passed{passed(id(1), id(0), false)}},
			{"where an id is missing at once", read(id(0)-5, 1, o), []store.Passed{passed(id(0), id(0)-5, false)}},
			{"behind the last", read(id(9), 10, o), nil},
			{"past nothing", read(id(6), 2), []store.Passed{passed(id(7), id(6), true), passed(id(8), id(7), true)}},
		} {
			if !slices.Equal(c.got, c.want) {
				s.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
			}
		}
	}},
	{name: "Floor is the lowest pending message id", run: func(s *suite) {
		floor := func() waybill.ID {
			id, err := s.queue.Floor(s.Context())
			s.must(err)
			return id
		}
		if id := floor(); !id.IsZero() {
			s.Errorf("got the floor %s of an empty queue, want none", id)
		}
		old := row("o", "", "")
		old.ID = waybill.NewIDAt(time.Now().Add(-time.Hour))
		rows := s.sendBodies("a", "b")
		s.send(old)
		if id := floor(); id != old.ID {
			s.Errorf("got the floor %s, want the oldest message's, %s", id, old.ID)
		}
		for below, want := range map[waybill.ID]waybill.ID{old.ID: {}, rows[0].ID: old.ID, waybill.NewID(): old.ID} {
			if id, err := s.queue.FloorBelow(s.Context(), below); err != nil || id != want {
				s.Errorf("below %s: got the floor %s and error %v, want %s", below, id, err, want)
			}
		}
		s.reject(old.ID)
		if id := floor(); id != rows[0].ID {
			s.Errorf("got the floor %s, want %s: a rejected row does not hold it", id, rows[0].ID)
		}
		_, err := s.queue.Delete(s.Context(), []waybill.ID{rows[0].ID, rows[1].ID})
		s.must(err)
		if id := floor(); !id.IsZero() {
			s.Errorf("got the floor %s where no row is pending, want none", id)
		}
	}},
	{name: "Count groups by destination, kind and status", run: func(s *suite) {
		topic := row("a", "", "")
		topic.Topic = true
		rows := []store.NewRow{row("b", "", ""), row("a", "", ""), topic, row("a", "", ""), row("a", "", "")}
		s.send(rows...)
		s.reject(rows[4].ID)
		s.must(s.queue.CountCopies(s.Context(), field(s.all()[:2], rowID)))
		got, err := s.queue.Count(s.Context())
		s.must(err)
		want := []store.Count{
			{Destination: "a", Rows: 2, Oldest: rows[1].ID, MaxRetry: 1},
			{Destination: "a", Status: store.Rejected, Rows: 1, Oldest: rows[4].ID},
			{Destination: "a", Topic: true, Rows: 1, Oldest: rows[2].ID},
			{Destination: "b", Rows: 1, Oldest: rows[0].ID, MaxRetry: 1},
		}
		if !slices.Equal(got, want) {
			s.Errorf("got the counts\n%+v, want\n%+v", got, want)
		}
	}},
	{name: "List reads rows of one status, of one destination or of all", run: func(s *suite) {
		rows := []store.NewRow{row("a", "", "1"), row("b", "", "2"), row("a", "", "3"), row("a", "", "4")}
		s.send(rows...)
		s.reject(rows[2].ID)
		list := func(destination string, status int, after int64, limit int) []store.Row {
			got, err := s.queue.List(s.Context(), destination, status, after, limit)
			s.must(err)
			return got
		}
		s.wantBodies(list("", store.Pending, 0, 10), "1", "2", "4")
		s.wantBodies(list("a", store.Pending, 0, 10), "1", "4")
		s.wantBodies(list("a", store.Pending, s.all()[0].ID, 10), "4")
		s.wantBodies(list("", store.Pending, 0, 1), "1")
		s.wantBodies(list("", store.Rejected, 0, 10), "3")
		s.wantBodies(list("b", store.Rejected, 0, 10))
	}},
	{name: "Find reads rows by message id, whatever their status and number", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		s.reject(rows[2].ID)
		ids := []waybill.ID{rows[2].ID, rows[0].ID}
		for range s.dialect.Capabilities().MaxBatch + 10 {
			ids = append(ids, waybill.NewID())
		}
		got, err := s.queue.Find(s.Context(), ids)
		s.must(err)
		s.wantBodies(got, "a", "c")
		got, err = s.queue.Find(s.Context(), nil)
		s.must(err)
		s.wantBodies(got)
	}},
	{name: "the clock is microseconds since the Unix epoch and does not step back", run: func(s *suite) {
		first, second := s.clock(), s.clock()
		if away := time.Since(time.UnixMicro(first)); away.Abs() > 24*time.Hour {
			s.Errorf("got the clock %d, %v away from this host's, want it within a day", first, away)
		}
		if second < first {
			s.Errorf("got the clock %d after %d, want it not to step back", second, first)
		}
	}},
}

// sendBodies sends messages with these bodies to destination o.
func (s *suite) sendBodies(bodies ...string) []store.NewRow {
	s.Helper()
	var rows []store.NewRow
	for _, b := range bodies {
		rows = append(rows, row("o", "", b))
	}
	s.send(rows...)
	return rows
}

func (s *suite) reject(id waybill.ID) {
	s.Helper()
	s.rejectFor(id, "no")
}

func (s *suite) rejectFor(id waybill.ID, reason string) {
	s.Helper()
	if found, err := s.queue.Reject(s.Context(), id, reason); err != nil || !found {
		s.Fatalf("reject %s: got found %v and error %v, want it found", id, found, err)
	}
}

func (s *suite) wantBodies(got []store.Row, want ...string) {
	s.Helper()
	if bodies := field(got, body); !slices.Equal(bodies, want) {
		s.Errorf("got the rows %q, want %q", bodies, want)
	}
}

func readBytes(s *suite) {
	const kB = 1000
	var want []string
	for i := range 30 {
		want = append(want, strings.Repeat(fmt.Sprint(i%10), kB))
	}
	rows := s.sendBodies(want...)
	scan := func(after int64, limit, maxBytes int) []store.Row {
		s.Helper()
		got, err := s.queue.Scan(s.Context(), after, limit, maxBytes)
		s.must(err)
		return got
	}
	s.wantBodies(scan(0, 10, 1), want[0])
	s.wantBodies(scan(0, 10, 3*kB), want[:3]...)
	s.wantBodies(scan(0, 10, 3*kB-1), want[:3]...)
	// A scan that its bytes ended shortens the pages of later ones, never their result.
	s.wantBodies(scan(0, 10, 1000*kB), want[:10]...)
	s.wantBodies(scan(0, 100, 1000*kB), want...)
	s.wantBodies(scan(0, 100, 29*kB), want[:29]...)
	s.wantBodies(scan(0, 100, 0), want...)
	var got []store.Row
	for after := int64(0); ; after = got[len(got)-1].ID {
		page := scan(after, 7, 5*kB)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	s.wantBodies(got, want...)
	ids := field(got, rowID)
	byID, err := s.queue.Rows(s.Context(), ids, 4*kB)
	s.must(err)
	s.wantBodies(byID, want[:4]...)
	byDestination, err := s.queue.ScanDestination(s.Context(), "o", false, 0, ids[29], 100, 4*kB)
	s.must(err)
	s.wantBodies(byDestination, want[:4]...)
	for _, r := range rows {
		if _, err := s.queue.Postpone(s.Context(), r.ID, -time.Hour, 0, 0, ""); err != nil {
			s.Fatal(err)
		}
	}
	due, err := s.queue.ScanDue(s.Context(), store.Place{}, 100, 4*kB)
	s.must(err)
	s.wantBodies(due, want[:4]...)
	due, err = s.queue.ScanDue(s.Context(), due[3].Place(), 100, 1000*kB)
	s.must(err)
	s.wantBodies(due, want[4:]...)
}

func readDue(s *suite) {
	var rows []store.NewRow
	delayed := func(body string, notBefore int64) {
		r := row("o", "", body)
		r.NotBefore = notBefore
		rows = append(rows, r)
	}
	delayed("at 30", 30)
	delayed("at once", 0)
	delayed("at 10", 10)
	delayed("at 20, rejected", 20)
	delayed("at 20, first", 20)
	delayed("at 20, second", 20)
	delayed("at 20, third", 20)
	delayed("in an hour", s.clock()+time.Hour.Microseconds())
	s.send(rows...)
	s.reject(rows[3].ID)
	due := func(after store.Place, limit int) []store.Row {
		s.Helper()
		got, err := s.queue.ScanDue(s.Context(), after, limit, 0)
		s.must(err)
		return got
	}
	all := due(store.Place{}, 100)
	s.wantBodies(all, "at 10", "at 20, first", "at 20, second", "at 20, third", "at 30")
	s.wantBodies(due(store.Place{}, 2), "at 10", "at 20, first")
	s.wantBodies(due(all[1].Place(), 2), "at 20, second", "at 20, third")
	s.wantBodies(due(all[3].Place(), 2), "at 30")
	s.wantBodies(due(all[4].Place(), 2))
	if found, err := s.queue.Postpone(s.Context(), rows[2].ID, 0, 1, 0, "again"); err != nil || !found {
		s.Fatal(found, err)
	}
	s.wantBodies(due(all[4].Place(), 2), "at 10")
}
