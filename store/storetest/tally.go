package storetest

import (
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var tallyCases = []testCase{
	{name: "a tally has what Count has, when messages were sent, when the delayed ones are due and how many have failed", run: func(s *suite) {
		due := s.clock() + time.Hour.Microseconds()
		late := row("a", "", "")
		late.ID, late.NotBefore = waybill.NewIDAt(time.UnixMicro(due)), due
		versioned := row("b", "", "")
		versioned.TimeStamp = 7
		rows := []store.NewRow{late, row("a", "", ""), row("a", "", ""), row("a", "", "")}
		s.send(rows...)
		s.send(versioned)
		s.reject(rows[3].ID)
		s.must(s.queue.CountCopies(s.Context(), field(s.all()[:2], rowID)))
		_, err := s.queue.Postpone(s.Context(), versioned.ID, 0, 2, 0, "later")
		s.must(err)
		sent := s.all()
		for _, limit := range []int{0, 100} {
			got, err := s.queue.Tally(s.Context(), limit, time.Hour)
			s.must(err)
			want := store.Tallies{Pending: 4, Rejected: 1, Destinations: []store.Tally{
				{Destination: "a", Rows: 3, Oldest: rows[1].ID, Sent: sent[0].TimeStamp, Delayed: 1, Due: due, MaxRetry: 1},
				{Destination: "a", Status: store.Rejected, Rows: 1, Oldest: rows[3].ID, Sent: sent[3].TimeStamp},
				{Destination: "b", Rows: 1, Oldest: versioned.ID, Sent: versioned.ID.Time().UnixMicro(), MaxRetry: 1, Failed: 1},
			}}
			if !sameTallies(got, want) {
				s.Errorf("at most %d: got\n%+v, want\n%+v", limit, got, want)
			}
		}
	}},
	{name: "a bounded tally reads the oldest and the newest rows, and rejected ones wherever they are", run: func(s *suite) {
		rows := make([]store.NewRow, 0, 30)
		for i := range 30 {
			rows = append(rows, row([]string{"old", "middle", "new"}[i/10], "", ""))
		}
		s.send(rows...)
		s.reject(rows[15].ID)
		got, err := s.queue.Tally(s.Context(), 8, time.Hour)
		s.must(err)
		want := store.Tallies{Pending: 8, Rejected: 1, PendingBounded: true, Destinations: []store.Tally{
			{Destination: "middle", Status: store.Rejected, Rows: 1, Oldest: rows[15].ID},
			{Destination: "new", Rows: 4, Oldest: rows[26].ID},
			{Destination: "old", Rows: 4, Oldest: rows[0].ID},
		}}
		if !sameTallies(got, want) {
			s.Errorf("got\n%+v, want\n%+v", got, want)
		}
		// What is in both halves is not counted twice.
		if got, err = s.queue.Tally(s.Context(), 58, time.Hour); err != nil || got.Pending != 29 || got.Rejected != 1 || got.PendingBounded || got.RejectedBounded {
			s.Errorf("got %+v, error %v, want all 30 rows", got, err)
		}
		for _, r := range rows[:3] {
			s.reject(r.ID)
		}
		if got, err = s.queue.Tally(s.Context(), 4, time.Hour); err != nil || got.Rejected != 4 || !got.RejectedBounded {
			s.Errorf("got %+v, error %v, want 4 rejected rows or more", got, err)
		}
	}},
	{name: "a tally reads on for as long as it may, and counts no row twice", run: func(s *suite) {
		rows := make([]store.NewRow, 1000)
		for i := range rows {
			rows[i] = row([]string{"a", "b"}[i%2], "", "")
		}
		s.send(rows...)
		for _, r := range rows[300:550] {
			s.reject(r.ID)
		}
		for _, c := range []struct {
			limit             int
			within            time.Duration
			pending, rejected int64
			bounded, more     bool
		}{
			{1500, 0, 400, 200, true, true}, // a few from each end
			{100, 0, 100, 100, true, true},
			{1200, time.Hour, 750, 250, false, false},
			{2100, time.Hour, 750, 250, false, false},
		} {
			got, err := s.queue.Tally(s.Context(), c.limit, c.within)
			s.must(err)
			if got.Pending != c.pending || got.Rejected != c.rejected || got.PendingBounded != c.bounded || got.RejectedBounded != c.more {
				s.Errorf("at most %d within %v: got %+v, want %+v", c.limit, c.within, got, c)
			}
			for _, t := range got.Destinations {
				if all := c.pending + c.rejected; t.Status == store.Pending && t.Rows != c.pending/2 || t.Rows >= all {
					s.Errorf("at most %d within %v: got %+v of %d", c.limit, c.within, t, all)
				}
			}
		}
	}},
	{name: "what consumers keep is counted, all or up to a limit", run: func(s *suite) {
		s.keep(0, kept("a", store.Rejected), kept("b", store.Rejected), kept("c", store.Pending))
		s.as("billing").keep(0, kept("d", store.Rejected))
		first := s.listKept("", store.AnyStatus)[0].KeptAt
		for _, c := range []struct {
			consumer string
			limit    int
			want     []int64 // billing's rejected ones, and this consumer's pending and rejected ones
			bounded  bool
		}{
			{"", 100, []int64{1, 1, 2}, false},
			{"", 2, []int64{2}, true},
			{consumer, 100, []int64{1, 2}, false},
			{"billing", 1, []int64{1}, true},
			{"nobody", 1, nil, false},
		} {
			keeper, err := store.NewKeeper(s.engine, s.dialect, "", c.consumer)
			s.must(err)
			got, bounded, err := keeper.Tally(s.Context(), c.limit)
			s.must(err)
			var rows []int64
			for _, t := range got {
				rows = append(rows, t.Rows)
				if t.Destination != "orders" || t.Topic || t.Oldest < first {
					s.Errorf("got %+v, want queue orders, kept from %d on", t, first)
				}
			}
			if !slices.Equal(rows, c.want) || bounded != c.bounded {
				s.Errorf("of %q, at most %d: got %+v, bounded: %v, want %v, %v", c.consumer, c.limit, got, bounded, c.want, c.bounded)
			}
			keeper.CloseIdle()
		}
	}},
	{name: "records are counted up to a limit, and the consumers that have some are found one by one", run: func(s *suite) {
		record := func(consumer string, once int, latest ...string) {
			l := s.as(consumer).ledger
			tx, err := l.Begin(s.Context())
			s.must(err)
			defer tx.Rollback()
			marks := make([]store.Mark, once)
			for i := range marks {
				marks[i] = store.Mark{ID: waybill.NewID(), Destination: "orders", Producer: "shop."}
			}
			if once > 0 {
				_, err = l.RecordOnce(s.Context(), tx, marks)
				s.must(err)
			}
			for _, key := range latest {
				_, err = l.RecordLatest(s.Context(), tx, []store.Mark{{ID: waybill.NewID(), Destination: "orders", Producer: "shop.", Key: key, TimeStamp: 1}})
				s.must(err)
			}
			s.must(tx.Commit(s.Context()))
		}
		record("billing", 3)
		record("audit", 0, "a", "b")
		record("shipping", 2, "a")
		for _, c := range []struct {
			consumer     string
			limit        int
			once, latest int64
		}{{"billing", 0, 3, 0}, {"billing", 2, 2, 0}, {"audit", 0, 0, 2}, {"shipping", 1, 1, 1}, {"nobody", 0, 0, 0}} {
			once, latest, err := s.as(c.consumer).ledger.TallyRecords(s.Context(), c.limit)
			if err != nil || once != c.once || latest != c.latest {
				s.Errorf("%s, at most %d: got %d and %d, error %v, want %d and %d", c.consumer, c.limit, once, latest, err, c.once, c.latest)
			}
		}
		var found []string
		for name := ""; ; {
			var err error
			name, err = s.ledger.NextConsumer(s.Context(), name)
			s.must(err)
			if name == "" {
				break
			}
			found = append(found, name)
		}
		if want := []string{"audit", "billing", "shipping"}; !slices.Equal(found, want) {
			s.Errorf("got the consumers %q, want %q", found, want)
		}
	}},
	{name: "why messages wait is noted, changed, forgotten after a while and taken back", run: func(s *suite) {
		note := func(w store.Wait, ttl time.Duration) { s.must(s.queue.NoteWait(s.Context(), w, ttl)) }
		note(store.Wait{Why: "the broker is away", Since: time.Minute}, time.Hour)
		note(store.Wait{Destination: "orders", Why: "no receipts"}, time.Hour)
		note(store.Wait{Destination: "orders", Topic: true, Why: strings.Repeat("ü🚚", 200)}, time.Hour)
		note(store.Wait{Destination: "orders", Why: "still no receipts", Since: 2 * time.Minute}, time.Hour)
		note(store.Wait{Destination: "gone", Why: "is over"}, -time.Second)
		note(store.Wait{Destination: strings.Repeat("x", 255), Why: "there is no room for the name"}, time.Hour)
		s.wantWaits("/the broker is away", "orders/still no receipts", "orders topic/"+strings.Repeat("ü🚚", 124)+"ü…")
		s.must(s.queue.EndWait(s.Context(), "", false))
		s.must(s.queue.EndWait(s.Context(), "orders", true))
		s.must(s.queue.EndWait(s.Context(), "nobody", true))
		waits := s.wantWaits("orders/still no receipts")
		if since := waits[0].Since; since < 2*time.Minute || since > 3*time.Minute {
			s.Errorf("got it since %v, want two minutes", since)
		}
		if lease, err := s.queue.Lease(s.Context(), "relay"); err != nil || lease.Present {
			s.Errorf("got the lease %+v, error %v, want none", lease, err)
		}
	}},
}

// sameTallies compares what is exported, and when messages were sent only where that is
// wanted.
func sameTallies(got, want store.Tallies) bool {
	if got.Pending != want.Pending || got.Rejected != want.Rejected || got.PendingBounded != want.PendingBounded || got.RejectedBounded != want.RejectedBounded {
		return false
	}
	return slices.EqualFunc(got.Destinations, want.Destinations, func(a, b store.Tally) bool {
		return a.Destination == b.Destination && a.Topic == b.Topic && a.Status == b.Status && a.Rows == b.Rows && a.Oldest == b.Oldest &&
			(a.Sent == b.Sent || b.Sent == 0) && a.Delayed == b.Delayed && a.Due == b.Due && a.MaxRetry == b.MaxRetry && a.Failed == b.Failed
	})
}

// wantWaits reads why messages wait, each as its destination and text.
func (s *suite) wantWaits(want ...string) []store.Wait {
	s.Helper()
	waits, err := s.queue.Waits(s.Context())
	s.must(err)
	var got []string
	for _, w := range waits {
		name := w.Destination
		if w.Topic {
			name += " topic"
		}
		got = append(got, name+"/"+w.Why)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("got %q, want %q", got, want)
	}
	return waits
}
