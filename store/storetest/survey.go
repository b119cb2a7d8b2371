package storetest

import (
	"math"
	"slices"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var surveyCases = []testCase{
	{name: "rows are looked at from either end, without their bodies", run: func(s *suite) {
		first := row("a", "", "a body")
		first.Headers = `{"tenant":"t"}`
		s.send(first, row("b", "", "2"), row("a", "", "3"))
		rows := s.all()
		s.rejectFor(rows[0].MessageID, strings.Repeat("é", 600))
		for _, c := range []struct {
			name   string
			from   int64
			newest bool
			limit  int
			want   []int
		}{
			{"oldest", 0, false, 2, []int{0, 1}},
			{"oldest, on", rows[1].ID, false, 2, []int{2}},
			{"newest", math.MaxInt64, true, 2, []int{2, 1}},
			{"newest, on", rows[1].ID, true, 2, []int{0}},
		} {
			got, err := s.queue.Glance(s.Context(), c.from, c.newest, c.limit)
			s.must(err)
			var want []int64
			for _, i := range c.want {
				want = append(want, rows[i].ID)
			}
			if !slices.Equal(field(got, rowID), want) {
				s.Errorf("%s: got the rows %v, want %v", c.name, field(got, rowID), want)
			}
		}
		got, err := s.queue.Glance(s.Context(), 0, false, 1)
		s.must(err)
		if r := got[0]; r.Headers != "" || len(r.Body) > 0 || r.LastError != strings.Repeat("é", 500) || r.Status != store.Rejected || r.Destination != "a" {
			s.Errorf("got %+v, want no headers, no body and the beginning of the reason", r)
		}
	}},
	{name: "rejected rows are looked at a page at a time, each once", run: func(s *suite) {
		var news []store.NewRow
		for range 5 {
			news = append(news, row("a", "", "x"))
		}
		s.send(news...)
		var want []waybill.ID
		for _, i := range []int{3, 1, 4, 0} {
			s.reject(news[i].ID)
			want = append(want, news[i].ID)
		}
		slices.SortFunc(want, waybill.ID.Compare)
		// Three were rejected at one time, and one later: where the order goes by that, it is the last.
		late := want[1]
		s.must(s.exec(s.db, `UPDATE {qmessage} SET not_before = CASE WHEN message_id = ? THEN 5 ELSE 4 END WHERE status = 2`, late.String()))
		if _, ok := s.dialect.(store.DueByMessageID); ok {
			want = append(slices.Delete(want, 1, 2), late)
		}
		var got []store.Row
		for after := (store.Place{}); len(got) < 9; after = got[len(got)-1].Place() {
			page, err := s.queue.GlanceRejected(s.Context(), after, 3)
			s.must(err)
			if got = append(got, page...); len(page) < 3 {
				break
			}
		}
		if all := field(got, messageID); !slices.Equal(all, want) {
			s.Errorf("got %v, want %v", all, want)
		}
		if got[0].LastError != "no" || len(got[0].Body) > 0 {
			s.Errorf("got %+v, want the reason and no body", got[0])
		}
	}},
	{name: "of those who have seen a rejected row the first has it sent again", run: func(s *suite) {
		s.send(row("a", "", "x"))
		id := s.all()[0].MessageID
		s.reject(id)
		seen := s.find(id)
		resend := func() bool {
			found, err := s.queue.ResendSeen(s.Context(), id, seen.NotBefore)
			s.must(err)
			return found
		}
		s.clockMoves()
		if !resend() {
			s.Error("the first: got false, want it sent again")
		}
		if r := s.find(id); r.Status != store.Pending || r.LastError != "" || r.NotBefore <= seen.NotBefore || r.Retry != seen.Retry+1 {
			s.Errorf("got %+v, want it pending, due later than before, and its next copy a copy", r)
		}
		if resend() {
			s.Error("the second: got true, want it left alone")
		}
		s.clockMoves()
		s.reject(id)
		if resend() {
			s.Error("after another rejection: got true, want it left alone")
		}
		if found, err := s.queue.DiscardSeen(s.Context(), id, seen.NotBefore); err != nil || found {
			s.Errorf("discarded as it was first seen: got %v, %v, want it left alone", found, err)
		}
		if found, err := s.queue.DiscardSeen(s.Context(), id, s.find(id).NotBefore); err != nil || !found {
			s.Errorf("discarded: got %v, %v, want it gone", found, err)
		}
		s.wantRowCount(0)
	}},
	{name: "a kept message is changed as it was seen", run: func(s *suite) {
		s.keep(0, kept("a", store.Rejected), kept("b", store.Rejected), kept("c", store.Pending))
		k := s.keeperOf("")
		seen, err := k.Glance(s.Context(), 0, 2)
		s.must(err)
		more, err := k.Glance(s.Context(), seen[1].ID, 2)
		s.must(err)
		if len(seen) != 2 || len(more) != 1 || more[0].Delivery != "c" || len(seen[0].Body) > 0 || seen[0].Reason == "" {
			s.Fatalf("got %+v and %+v, want the three without bodies", seen, more)
		}
		for i, step := range []struct {
			do    func() (bool, error)
			found bool
		}{
			{func() (bool, error) { return k.ResendSeen(s.Context(), seen[0].ID, seen[0].Tries+1) }, false},
			{func() (bool, error) { return k.ResendSeen(s.Context(), seen[0].ID, seen[0].Tries) }, true},
			{func() (bool, error) { return k.ResendSeen(s.Context(), seen[0].ID, seen[0].Tries) }, false},
			{func() (bool, error) { return k.DiscardSeen(s.Context(), seen[0].ID, seen[0].Tries) }, false},
			{func() (bool, error) { return k.DiscardSeen(s.Context(), more[0].ID, more[0].Tries) }, false},
			{func() (bool, error) { return k.DiscardSeen(s.Context(), seen[1].ID, seen[1].Tries) }, true},
		} {
			if found, err := step.do(); err != nil || found != step.found {
				s.Errorf("step %d: got %v, %v, want %v", i, found, err, step.found)
			}
		}
		again := k.list("", store.Pending)[0]
		again.Status = store.Rejected
		s.must(s.ledger.KeepAgain(s.Context(), &again, 0))
		if found, err := k.ResendSeen(s.Context(), again.ID, seen[0].Tries); err != nil || found {
			s.Errorf("after another try: got %v, %v, want it left alone", found, err)
		}
	}},
}
