package storetest

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var keptCases = []testCase{
	{name: "a kept message comes back as it was", run: func(s *suite) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		want := []store.Kept{kept("a", store.Rejected), kept("b", store.Pending), kept("c", store.Rejected)}
		want[0].Body, want[0].Headers, want[0].Key, want[0].Topic, want[0].Failures = all, `{"é":"\u0000"}`, "Key 'ü' ", true, 7
		want[1].Body, want[1].Reason = nil, ""
		want[2].Body = bytes.Repeat([]byte("x"), 1<<20)
		s.keep(0, want...)
		got := s.listKept("", store.AnyStatus)
		if len(got) != len(want) {
			s.Fatalf("got %d messages, want %d", len(got), len(want))
		}
		for i, w := range want {
			g := got[i]
			if g.Consumer != consumer || g.MessageID != w.MessageID || g.Destination != w.Destination || g.Topic != w.Topic || g.Key != w.Key ||
				g.Delivery != w.Delivery || g.Headers != w.Headers || !bytes.Equal(g.Body, w.Body) || g.Status != w.Status ||
				g.Failures != w.Failures || g.Reason != w.Reason || g.Tries != 1 || g.KeptAt <= 0 || g.TriedAt < g.KeptAt {
				s.Errorf("message %d: got %+v, want %+v", i, brief(g), brief(w))
			}
		}
	}},
	{name: "a delivery is kept once", run: func(s *suite) {
		first := kept("a", store.Rejected)
		s.keep(0, first)
		again := kept("a", store.Pending)
		again.Reason, again.Body = "another reason", []byte("another body")
		s.keep(0, again)
		got := s.listKept("", store.AnyStatus)
		if len(got) != 1 || got[0].Tries != 2 || got[0].Reason != "another reason" || got[0].Status != store.Rejected ||
			string(got[0].Body) != string(first.Body) || got[0].MessageID != first.MessageID {
			s.Errorf("got %+v, want the first message, kept twice and with the last reason", got)
		}
		topic, elsewhere := kept("a", store.Rejected), kept("a", store.Rejected)
		topic.Topic, elsewhere.Destination = true, "Orders"
		s.keep(0, topic, elsewhere)
		s.as("billing").keep(0, kept("a", store.Rejected))
		if got := s.listKept("", store.AnyStatus); len(got) != 3 {
			s.Errorf("got %d messages, want those of a topic and of another destination besides", len(got))
		}
		if got := s.keeperOf("").list("", store.AnyStatus); len(got) != 4 {
			s.Errorf("got %d messages of all consumers, want 4", len(got))
		}
	}},
	{name: "what waits for its next try holds the horizons of sources without an identity", run: func(s *suite) {
		const outbox = "shop.7q3mk2xw9d4hznsb6t5vfc8a"
		now := time.Now()
		sources := []string{"shop", "shop.", outbox, outbox + ".sub"}
		for _, source := range sources {
			s.must(s.ledger.SaveFloor(s.Context(), source, waybill.ID{}))
		}
		age := func(days int) waybill.ID { return waybill.LowestID(now.Add(-time.Duration(days) * 24 * time.Hour)) }
		want := func(what string, without, with waybill.ID) {
			s.Helper()
			would, _, err := s.ledger.Forgettable(s.Context(), now, store.Retention{Confirmed: 7 * 24 * time.Hour, Foreign: 7 * 24 * time.Hour}, 10)
			s.must(err)
			_, err = s.ledger.Prune(s.Context(), now, 7*24*time.Hour, 10)
			s.must(err)
			all := []store.Horizon{{Producer: sources[0], ID: without}, {Producer: sources[1], ID: without}, {Producer: sources[2], ID: with}, {Producer: sources[3], ID: with}}
			if !slices.Equal(would, all) {
				s.Errorf("%s: got told the horizons\n%+v, want\n%+v", what, would, all)
			}
			s.wantHorizons(all...)
		}
		waits, rejected := kept("waits", store.Pending), kept("rejected", store.Rejected)
		waits.MessageID, rejected.MessageID = age(20), age(25)
		younger, others := kept("younger", store.Pending), kept("another consumer's", store.Pending)
		younger.MessageID, others.MessageID = age(10), age(30)
		s.keep(time.Hour, younger, waits, rejected)
		s.as("billing").keep(time.Hour, others)
		want("one of 20 days waits", age(20), age(7))
		row := s.listKept("", store.Pending)[1]
		again := row
		again.Status = store.Rejected
		s.must(s.ledger.KeepAgain(s.Context(), &again, 0))
		want("one of 10 days waits", age(10), age(7))
		row = s.listKept("", store.Pending)[0]
		row.Status = store.Rejected
		s.must(s.ledger.KeepAgain(s.Context(), &row, 0))
		want("none waits", age(7), age(7))
	}},
	{name: "messages are kept all or none", run: func(s *suite) {
		bad := kept("b", 1) // a status that no row has
		if err := s.ledger.Keep(s.Context(), []store.Kept{kept("a", store.Rejected), bad}, make([]time.Duration, 2)); err == nil {
			s.Error("got no error, want one")
		}
		if got := s.listKept("", store.AnyStatus); len(got) != 0 {
			s.Errorf("got %d messages, want none", len(got))
		}
	}},
	{name: "what is due is found in the order in which it was kept", run: func(s *suite) {
		s.keep(0, kept("a", store.Pending), kept("b", store.Rejected), kept("c", store.Pending))
		s.keep(time.Hour, kept("d", store.Pending))
		s.as("billing").keep(0, kept("e", store.Pending))
		s.keep(0, kept("f", store.Pending))
		rows := s.listKept("", store.AnyStatus)
		want := []int64{rows[0].ID, rows[2].ID, rows[4].ID}
		due, err := s.ledger.DueKept(s.Context(), 0, 10)
		s.must(err)
		if got := idsOf(due); !slices.Equal(got, want) {
			s.Errorf("got %v, want %v", got, want)
		}
		due, err = s.ledger.DueKept(s.Context(), want[0], 1)
		s.must(err)
		if len(due) != 1 || due[0].ID != want[1] || due[0].Destination != "orders" || due[0].Topic {
			s.Errorf("after the first: got %+v, want the second", due)
		}
		for _, c := range []struct{ most, want int }{{10, 4}, {2, 2}} {
			if n, err := s.ledger.CountWaiting(s.Context(), c.most); err != nil || n != c.want {
				s.Errorf("waiting, at most %d: got %d, error %v, want %d", c.most, n, err, c.want)
			}
		}
		for i, found := range []bool{true, false, true, false, true} {
			row, err := s.ledger.KeptRow(s.Context(), rows[i].ID)
			s.must(err)
			if (row != nil) != found || found && row.Delivery != rows[i].Delivery {
				s.Errorf("row %d: got %+v, want it: %v", i, row, found)
			}
		}
	}},
	{name: "a kept message is taken by the transaction that handles it, or stays", run: func(s *suite) {
		s.keep(0, kept("a", store.Pending), kept("b", store.Rejected))
		rows := s.listKept("", store.AnyStatus)
		take := func(id int64, commit bool) bool {
			tx, err := s.ledger.Begin(s.Context())
			s.must(err)
			defer tx.Rollback()
			found, err := s.ledger.TakeKept(s.Context(), tx, id)
			s.must(err)
			if commit {
				s.must(tx.Commit(s.Context()))
			}
			return found
		}
		for i, c := range []struct {
			id            int64
			commit, found bool
		}{
			{rows[0].ID, false, true}, {rows[0].ID, true, true}, {rows[0].ID, true, false}, {rows[1].ID, true, false},
		} {
			if found := take(c.id, c.commit); found != c.found {
				s.Errorf("step %d: got %v, want %v", i, found, c.found)
			}
		}
		if got := s.listKept("", store.AnyStatus); len(got) != 1 || got[0].Status != store.Rejected {
			s.Errorf("got %+v, want the rejected message alone", got)
		}
	}},
	{name: "of those who take a kept message at one time one gets it", run: func(s *suite) {
		s.keep(0, kept("a", store.Pending))
		id := s.listKept("", store.AnyStatus)[0].ID
		var got atomic.Int64
		var group sync.WaitGroup
		for range s.workers() {
			group.Go(func() {
				for {
					err := func() error {
						tx, err := s.ledger.Begin(s.Context())
						if err != nil {
							return err
						}
						defer tx.Rollback()
						found, err := s.ledger.TakeKept(s.Context(), tx, id)
						if err == nil {
							err = tx.Commit(s.Context())
						}
						if err == nil && found {
							got.Add(1)
						}
						return err
					}()
					if err == nil {
						return
					}
					if !s.passes(err) {
						s.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		if got.Load() != 1 {
			s.Errorf("got it %d times, want once", got.Load())
		}
	}},
	{name: "what becomes of a message that was handled again is kept with it", run: func(s *suite) {
		s.keep(0, kept("a", store.Pending))
		row := s.listKept("", store.AnyStatus)[0]
		row.Failures, row.Reason = 3, "no"
		s.must(s.ledger.KeepAgain(s.Context(), &row, time.Hour))
		got := s.listKept("", store.Pending)
		if len(got) != 1 || got[0].Failures != 3 || got[0].Reason != "no" || got[0].Tries != 2 || got[0].NotBefore < got[0].TriedAt+time.Hour.Microseconds()/2 {
			s.Errorf("postponed: got %+v, want three failures, a second try, and an hour to wait", got)
		}
		row.Status = store.Rejected
		s.must(s.ledger.KeepAgain(s.Context(), &row, 0))
		s.must(s.ledger.KeepAgain(s.Context(), &row, 0)) // it is not to be handled again any more
		if got := s.listKept("", store.Rejected); len(got) != 1 || got[0].Tries != 3 {
			s.Errorf("rejected: got %+v, want it at its third try", got)
		}
	}},
	{name: "rejected messages are handled again or discarded by their id", run: func(s *suite) {
		s.keep(0, kept("a", store.Rejected), kept("b", store.Rejected), kept("c", store.Pending))
		other := s.as("billing")
		other.keep(0, kept("d", store.Rejected))
		rows := s.keeperOf("").list("", store.AnyStatus)
		a, b, c, d := rows[0].MessageID, rows[1].MessageID, rows[2].MessageID, rows[3].MessageID
		mine, all := s.keeperOf(consumer), s.keeperOf("")
		for i, step := range []struct {
			do    func() (bool, error)
			found bool
		}{
			{func() (bool, error) { _, found, err := mine.Resend(s.Context(), a, false); return found, err }, true},
			{func() (bool, error) { _, found, err := mine.Resend(s.Context(), a, false); return found, err }, false},
			{func() (bool, error) { return mine.Discard(s.Context(), a) }, false},
			{func() (bool, error) { return mine.Discard(s.Context(), b) }, true},
			{func() (bool, error) { return mine.Discard(s.Context(), b) }, false},
			{func() (bool, error) { return mine.Discard(s.Context(), c) }, false},
			{func() (bool, error) { return mine.Discard(s.Context(), d) }, false},
			{func() (bool, error) { return all.Discard(s.Context(), d) }, true},
		} {
			if found, err := step.do(); err != nil || found != step.found {
				s.Errorf("step %d: got %v, error %v, want %v", i, found, err, step.found)
			}
		}
		if left := all.list("", store.AnyStatus); len(left) != 2 || left[0].MessageID != a || left[0].Status != store.Pending {
			s.Errorf("got %+v left, want the first and the third, pending", left)
		}
		if found, err := all.Find(s.Context(), a); err != nil || len(found) != 1 || found[0].Delivery != "a" {
			s.Errorf("found %+v, error %v, want the first", found, err)
		}
	}},
	{name: "a message that is handled again as a new one has another id", run: func(s *suite) {
		s.keep(0, kept("a", store.Rejected))
		old := s.listKept("", store.AnyStatus)[0].MessageID
		id, found, err := s.keeperOf(consumer).Resend(s.Context(), old, true)
		s.must(err)
		if got := s.listKept("", store.Pending); !found || id == old || len(got) != 1 || got[0].MessageID != id {
			s.Errorf("got %v and %+v, want the message under the new id %s", found, got, id)
		}
	}},
	{name: "kept messages are listed by destination and status", run: func(s *suite) {
		elsewhere := kept("c", store.Rejected)
		elsewhere.Destination = "prices"
		s.keep(0, kept("a", store.Rejected), kept("b", store.Pending), elsewhere)
		for _, c := range []struct {
			destination string
			status      int
			want        []string
		}{
			{"", store.AnyStatus, []string{"a", "b", "c"}}, {"", store.Rejected, []string{"a", "c"}}, {"orders", store.AnyStatus, []string{"a", "b"}},
			{"prices", store.Pending, nil}, {"Prices", store.AnyStatus, nil},
		} {
			var got []string
			for _, k := range s.listKept(c.destination, c.status) {
				got = append(got, k.Delivery)
			}
			if !slices.Equal(got, c.want) {
				s.Errorf("destination %q, status %d: got %v, want %v", c.destination, c.status, got, c.want)
			}
		}
	}},
}

// kept is a message to be kept.
func kept(delivery string, status int) store.Kept {
	return store.Kept{
		MessageID: waybill.NewID(), Destination: "orders", Delivery: delivery, Headers: `{}`, Body: []byte("body of " + delivery),
		Status: status, Reason: "no such order",
	}
}

// brief is a message without what may be long.
func brief(k store.Kept) store.Kept {
	k.Body = k.Body[:min(len(k.Body), 16)]
	return k
}

func idsOf(all []store.Kept) (ids []int64) {
	for _, k := range all {
		ids = append(ids, k.ID)
	}
	return ids
}

func (s *suite) keep(delay time.Duration, all ...store.Kept) {
	s.Helper()
	delays := make([]time.Duration, len(all))
	for i := range delays {
		delays[i] = delay
	}
	s.must(s.ledger.Keep(s.Context(), all, delays))
}

func (s *suite) listKept(destination string, status int) []store.Kept {
	s.Helper()
	return s.keeperOf(consumer).list(destination, status)
}

// keeper is a store.Keeper whose errors are the test's.
type keeper struct {
	*store.Keeper
	s *suite
}

func (s *suite) keeperOf(consumer string) *keeper {
	s.Helper()
	k, err := store.NewKeeper(s.engine, s.dialect, "", consumer)
	s.must(err)
	s.must(k.CheckSchema(s.Context()))
	s.Cleanup(k.CloseIdle)
	return &keeper{k, s}
}

func (k *keeper) list(destination string, status int) []store.Kept {
	k.s.Helper()
	var all []store.Kept
	for after := int64(0); ; {
		page, err := k.List(k.s.Context(), destination, status, after, 2)
		k.s.must(err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1].ID
	}
}
