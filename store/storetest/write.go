package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

var writeCases = []testCase{
	{name: "Delete deletes by message id, whatever the status and number", run: func(s *suite) {
		n := s.dialect.Capabilities().MaxBatch + 10
		bodies := make([]string, n)
		rows := s.sendBodies(bodies...)
		s.reject(rows[0].ID)
		keep := s.sendBodies("kept")
		ids := []waybill.ID{waybill.NewID()}
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		for _, want := range []int64{int64(n), 0} {
			got, err := s.queue.Delete(s.Context(), ids)
			s.must(err)
			if got != want {
				s.Errorf("got %d rows deleted, want %d", got, want)
			}
		}
		if all := s.all(); len(all) != 1 || all[0].MessageID != keep[0].ID {
			s.Errorf("got %d rows left, want the other one", len(all))
		}
		if got, err := s.queue.Delete(s.Context(), nil); got != 0 || err != nil {
			s.Errorf("deleting nothing: got %d and error %v, want 0", got, err)
		}
	}},
	{name: "a row's id is never used again", run: func(s *suite) {
		var last int64
		for range 3 {
			s.sendBodies("a", "b")
			var ids []waybill.ID
			for _, r := range s.all() {
				if r.ID <= last {
					s.Errorf("got id %d after id %d, want a greater one", r.ID, last)
				}
				last = r.ID
				ids = append(ids, r.MessageID)
			}
			_, err := s.queue.Delete(s.Context(), ids)
			s.must(err)
		}
	}},
	{name: "CountCopies counts the rows' copies", run: func(s *suite) {
		s.sendBodies("a", "b", "c")
		all := s.all()
		ids := []int64{all[0].ID, all[2].ID}
		for i := range int64(s.dialect.Capabilities().MaxBatch) {
			ids = append(ids, 1_000_000+i)
		}
		s.must(s.queue.CountCopies(s.Context(), ids))
		s.must(s.queue.CountCopies(s.Context(), ids[:1]))
		s.must(s.queue.CountCopies(s.Context(), nil))
		for i, want := range []int{2, 0, 1} {
			if got := s.all()[i].Retry; got != want {
				s.Errorf("row %d: got %d copies, want %d", i, got, want)
			}
		}
	}},
	{name: "rows that others have locked are left, and all others are written", run: func(s *suite) {
		s.needsWriters("a transaction that writes locks more than rows")
		rows := s.sendBodies("a", "b", "c", "d")
		ids := make([]waybill.ID, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
		}
		taken := ids[1]
		other, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer func() { _ = other.Rollback() }()
		s.must(s.exec(other, `UPDATE {qmessage} SET retry = 7 WHERE message_id = ?`, taken.String()))
		isLeft := func(doing string, err error) {
			s.Helper()
			var locked *store.LockedError
			if !errors.As(err, &locked) || !slices.Equal(locked.IDs, []waybill.ID{taken}) {
				s.Errorf("%s: got error %v, want a LockedError of %s", doing, err, taken)
			}
		}
		all := s.all()
		s.must(s.queue.CountCopies(s.Context(), []int64{all[0].ID, all[1].ID}))
		if got := s.find(ids[0]).Retry; got != 1 {
			s.Errorf("got %d copies of a row beside the locked one, want 1", got)
		}
		for range 2 { // the second one knows
			_, err = s.queue.Reject(s.Context(), taken, "x")
			isLeft("Reject", err)
			_, err = s.queue.Postpone(s.Context(), taken, time.Minute, 0, 0, "x")
			isLeft("Postpone", err)
		}
		n, err := s.queue.Delete(s.Context(), ids[:3])
		isLeft("Delete", err)
		if n != 2 {
			s.Errorf("Delete: got %d rows deleted beside the locked one, want 2", n)
		}
		n, err = s.queue.DeleteAnswered(s.Context(), ids)
		isLeft("DeleteAnswered", err)
		if n != 1 {
			s.Errorf("DeleteAnswered: got %d rows deleted beside the locked one, want 1", n)
		}
		if r := s.find(taken); r.Status != store.Pending || r.NotBefore != 0 {
			s.Errorf("got the locked row %+v, want it as it was", r)
		}
		s.must(other.Rollback())
		n, err = s.queue.Delete(s.Context(), ids)
		s.must(err)
		if n != 1 {
			s.Errorf("got %d rows deleted once nothing was locked, want 1", n)
		}
	}},
	{name: "answers that others have locked are left, and all others are written", run: func(s *suite) {
		s.needsWriters("a transaction that writes locks more than rows")
		rows := s.sendBodies("a", "b")
		first, second := rows[0].ID, rows[1].ID
		s.must(s.queue.SaveAnswers(s.Context(), []store.Answer{{MessageID: first, Consumer: "x", Rejected: true}}))
		other, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer func() { _ = other.Rollback() }()
		s.must(s.exec(other, `UPDATE {qconfirmed} SET time_stamp = 7 WHERE message_id = ? AND consumer = 'x'`, first.String()))
		err = s.queue.SaveAnswers(s.Context(), []store.Answer{{MessageID: first, Consumer: "x"}, {MessageID: second, Consumer: "x"}})
		var locked *store.LockedError
		if !errors.As(err, &locked) || !slices.Equal(locked.IDs, []waybill.ID{first}) {
			s.Errorf("got error %v, want a LockedError of %s", err, first)
		}
		said, err := s.queue.Answers(s.Context(), []waybill.ID{second})
		s.must(err)
		if len(said) != 1 {
			s.Errorf("got the answers %v on the other message, want one", said)
		}
	}},
	{name: "many answers that others have locked cost one wait, and all others are written", run: func(s *suite) {
		s.needsWriters("a transaction that writes locks more than rows")
		const taken = 20
		rows := s.sendBodies(make([]string, taken+2)...)
		ids := make([]waybill.ID, len(rows))
		var all []store.Answer
		for i := range rows {
			ids[i] = rows[i].ID
			all = append(all, confirms("x", ids[i]), confirms("y", ids[i]))
		}
		slices.SortFunc(ids, waybill.ID.Compare)
		for _, id := range ids[:taken] {
			s.saveAnswers(rejects("x", id, "no"))
		}
		other, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer func() { _ = other.Rollback() }()
		for _, id := range ids[:taken] {
			s.must(s.exec(other, `UPDATE {qconfirmed} SET time_stamp = 7 WHERE message_id = ? AND consumer = 'x'`, id.String()))
		}
		areLeft := func(doing string, err error) {
			s.Helper()
			var locked *store.LockedError
			if !errors.As(err, &locked) || !slices.Equal(locked.IDs, ids[:taken]) {
				s.Errorf("%s: got error %v, want a LockedError of the first %d", doing, err, taken)
			}
		}
		began := time.Now()
		areLeft("SaveAnswers", s.queue.SaveAnswers(s.Context(), all))
		if took := time.Since(began); took > taken/2*500*time.Millisecond {
			s.Errorf("SaveAnswers took %v, want the time of one wait, and not of %d", took, taken)
		}
		if got, want := len(s.answers(ids...)), taken*2+4; got != want {
			s.Errorf("got %d answers, want %d", got, want)
		}
		n, err := s.queue.DeleteAnswered(s.Context(), ids)
		areLeft("DeleteAnswered", err)
		if n != 2 {
			s.Errorf("DeleteAnswered: got %d rows deleted beside those whose answers are locked, want 2", n)
		}
		s.must(other.Rollback())
		s.saveAnswers(all...)
		n, err = s.queue.DeleteAnswered(s.Context(), ids)
		s.must(err)
		if n != taken {
			s.Errorf("got %d rows deleted once nothing was locked, want %d", n, taken)
		}
	}},
	{name: "an answer that somebody has not committed is left, and all others are written", run: func(s *suite) {
		s.needsWriters("a transaction that writes locks more than rows")
		rows := s.sendBodies("a", "b", "c")
		other, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer func() { _ = other.Rollback() }()
		s.must(s.exec(other, `INSERT INTO {qconfirmed} (message_id, consumer, outcome, time_stamp) VALUES (?, 'x', 0, 7)`, rows[1].ID.String()))
		for range 2 { // the second one knows
			err = s.queue.SaveAnswers(s.Context(), []store.Answer{confirms("x", rows[0].ID), confirms("x", rows[1].ID), confirms("x", rows[2].ID)})
			var locked *store.LockedError
			if !errors.As(err, &locked) || !slices.Equal(locked.IDs, []waybill.ID{rows[1].ID}) {
				s.Errorf("got error %v, want a LockedError of %s", err, rows[1].ID)
			}
			if got := len(s.answers(rows[0].ID, rows[2].ID)); got != 2 {
				s.Errorf("got %d answers on the other messages, want 2", got)
			}
		}
	}},
	{name: "Reject keeps a pending row with the reason, once", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		s.wantFound("the first rejection", true)(s.queue.Reject(s.Context(), rows[0].ID, "first reason"))
		s.wantFound("the second rejection", false)(s.queue.Reject(s.Context(), rows[0].ID, "second reason"))
		if r := s.find(rows[0].ID); r.Status != store.Rejected || r.LastError != "first reason" || string(r.Body) != "a" {
			s.Errorf("got the row %+v, want it rejected for the first reason", r)
		}
		s.wantFound("rejecting an unknown id", false)(s.queue.Reject(s.Context(), waybill.NewID(), "x"))
		if r := s.find(rows[1].ID); r.Status != store.Pending {
			s.Errorf("got the other row %+v, want it pending", r)
		}
	}},
	{name: "a reason of any length and bytes is stored as text", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		for i, c := range []struct{ name, reason, want string }{
			{"what is no text", "invalid \xff\xfe UTF-8 and \x00", "invalid \uFFFD UTF-8 and \uFFFD"},
			{"more than there is room for", strings.Repeat("🚚", 5000), strings.Repeat("🚚", 1000)},
			{"what SQL quotes", "'; \\ \" $1 ? 日本語", "'; \\ \" $1 ? 日本語"},
		} {
			s.sub(c.name, func(s *suite) {
				_, err := s.queue.Reject(s.Context(), rows[i].ID, c.reason)
				s.must(err)
				if got := s.find(rows[i].ID).LastError; got != c.want {
					s.Errorf("got the reason %q, want %q", got, c.want)
				}
			})
		}
	}},
	{name: "Reject notes when, by the database's clock, and Rejections finds the lowest id of each part of time", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c", "d", "e", "f")
		later := row("o", "", "later")
		later.NotBefore = s.clock() + time.Hour.Microseconds()
		s.send(later)
		before := s.clock()
		s.reject(later.ID)
		s.reject(rows[0].ID)
		for _, id := range []waybill.ID{later.ID, rows[0].ID} {
			if at := s.find(id).NotBefore; at < before || at > s.clock() {
				s.Errorf("got the not_before %d of message %s, want one from %d on", at, id, before)
			}
		}
		const width = 1000
		for i, at := range []int64{7 * width, 5*width + 1, 5 * width, 4*width - 1, 9 * width} { // of b to f
			if i != 3 {
				s.reject(rows[i+1].ID)
			}
			s.must(s.exec(s.db, `UPDATE {qmessage} SET not_before = ? WHERE message_id = ?`, at, rows[i+1].ID.String()))
		}
		for _, c := range []struct {
			from, to int64
			want     []store.Rejection
		}{
			{width, 10 * width, []store.Rejection{{At: 5*width + 1, Lowest: rows[2].ID}, {At: 7 * width, Lowest: rows[1].ID}, {At: 9 * width, Lowest: rows[5].ID}}},
			{5*width + 1, 9 * width, []store.Rejection{{At: 5*width + 1, Lowest: rows[2].ID}, {At: 7 * width, Lowest: rows[1].ID}}},
			{5 * width, 5*width + 1, []store.Rejection{{At: 5 * width, Lowest: rows[3].ID}}},
			{10 * width, before, nil},
		} {
			got, err := s.queue.Rejections(s.Context(), c.from, c.to, width)
			s.must(err)
			slices.SortFunc(got, func(a, b store.Rejection) int { return int(a.At - b.At) })
			if !slices.Equal(got, c.want) {
				s.Errorf("from %d to %d: got %v, want %v", c.from, c.to, got, c.want)
			}
		}
	}},
	{name: "Postpone sets the next copy's time by the database's clock", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		before := s.clock()
		for i := range 2 {
			s.wantFound("postponing a pending row", true)(s.queue.Postpone(s.Context(), rows[0].ID, time.Minute, 1, 0, "busy"))
			r := s.find(rows[0].ID)
			if at := r.NotBefore - time.Minute.Microseconds(); at < before || at > s.clock() {
				s.Errorf("got the not_before %d, want a minute after %d", r.NotBefore, before)
			}
			if r.Failures != i+1 || r.Retry != i+1 || r.LastError != "busy" || r.Status != store.Pending {
				s.Errorf("after postponement %d: got the row %+v, want as many copies and failures", i+1, r)
			}
		}
		s.wantFound("a delay that the consumer asked for", true)(s.queue.Postpone(s.Context(), rows[0].ID, time.Second, 0, 0, "asked for"))
		if r := s.find(rows[0].ID); r.Failures != 2 || r.Retry != 3 {
			s.Errorf("got the row %+v, want one copy more and no failure more", r)
		}
		for _, c := range []struct {
			tries int
			found bool
		}{{3, true}, {3, false}, {2, false}, {4, true}} {
			s.wantFound(fmt.Sprintf("try %d", c.tries), c.found)(s.queue.Postpone(s.Context(), rows[0].ID, time.Second, 1, c.tries, "busy"))
		}
		if r := s.find(rows[0].ID); r.Failures != 4 || r.Retry != 5 {
			s.Errorf("got the row %+v, want 4 failures, each counted once, and 5 copies", r)
		}
		s.reject(rows[1].ID)
		s.wantFound("postponing a rejected row", false)(s.queue.Postpone(s.Context(), rows[1].ID, time.Minute, 1, 0, "busy"))
		s.wantFound("postponing an unknown id", false)(s.queue.Postpone(s.Context(), waybill.NewID(), time.Minute, 1, 0, "busy"))
		if r := s.find(rows[1].ID); r.NotBefore > s.clock() || r.LastError != "no" {
			s.Errorf("got the rejected row %+v, want it not postponed", r)
		}
	}},
	{name: "Resend makes a rejected row pending, due now", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		_, err := s.queue.Postpone(s.Context(), rows[0].ID, time.Hour, 3, 0, "busy")
		s.must(err)
		s.wantNotResent("a pending row", rows[0].ID, false)
		s.reject(rows[0].ID)
		was, before := s.find(rows[0].ID), s.clock()
		id, found, err := s.queue.Resend(s.Context(), rows[0].ID, false)
		s.must(err)
		if !found || id != rows[0].ID {
			s.Fatalf("got found %v and the id %s, want its own, %s", found, id, rows[0].ID)
		}
		now := s.find(id)
		if now.NotBefore < before || now.NotBefore > s.clock() {
			s.Errorf("got it due at %d, want now (%d)", now.NotBefore, before)
		}
		if now.ID != was.ID || now.Status != store.Pending || now.Retry != was.Retry+1 || now.Failures != 0 || now.LastError != "" || string(now.Body) != "a" || now.TimeStamp != was.TimeStamp {
			s.Errorf("got the row %+v, want it pending and clean, its next copy a copy, else as it was: %+v", now, was)
		}
		due, err := s.queue.ScanDue(s.Context(), store.Place{}, 10, 0)
		s.must(err)
		s.wantBodies(due, "a")
		s.wantNotResent("a row that was sent again", rows[0].ID, false)
	}},
	{name: "Resend as new gives a rejected row a new id", run: func(s *suite) {
		rows := s.sendBodies("a")
		s.reject(rows[0].ID)
		was := s.find(rows[0].ID)
		id, found, err := s.queue.Resend(s.Context(), was.MessageID, true)
		s.must(err)
		if !found || id == was.MessageID || !id.IsV7() {
			s.Fatalf("got found %v and the id %s, want another than %s", found, id, was.MessageID)
		}
		if now := s.find(id); now.ID != was.ID || now.Status != store.Pending || now.Retry != 0 || now.TimeStamp != was.TimeStamp {
			s.Errorf("got the row %+v, want it pending and clean, else as it was: %+v", now, was)
		}
		s.wantNotResent("the old id", was.MessageID, true)
	}},
	{name: "Discard deletes a row if it is rejected", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		s.reject(rows[0].ID)
		s.wantFound("discarding a rejected row", true)(s.queue.Discard(s.Context(), rows[0].ID))
		s.wantFound("discarding a pending row", false)(s.queue.Discard(s.Context(), rows[1].ID))
		s.wantFound("discarding twice", false)(s.queue.Discard(s.Context(), rows[0].ID))
		s.wantBodies(s.all(), "b")
	}},
	{name: "a relay does not wait for a sender whose transaction is open, nor holds it off", run: func(s *suite) {
		s.needsWriters("whatever writes waits for a transaction that writes")
		rows := s.sendBodies("a", "b", "c", "d")
		tx, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer tx.Rollback()
		s.must(s.insert(tx, row("o", "k", ""), row("o", "", "")))
		ctx, cancel := context.WithTimeout(s.Context(), patience.Limit)
		defer cancel()
		all := s.all()
		// So many ids that a scan of the table looks cheaper than to look each one up.
		copies, gone := []int64{all[0].ID, all[1].ID}, []waybill.ID{rows[0].ID, rows[3].ID}
		for i := range int64(300) {
			copies, gone = append(copies, 1_000_000+i), append(gone, waybill.NewID())
		}
		for range 3 {
			s.must(s.queue.CountCopies(ctx, copies))
			_, err = s.queue.Postpone(ctx, rows[1].ID, 0, 1, 0, "busy")
			s.must(err)
			_, err = s.queue.Reject(ctx, rows[2].ID, "no")
			s.must(err)
			_, err = s.queue.Delete(ctx, gone)
			s.must(err)
			_, err = s.queue.Floor(ctx)
			s.must(err)
			s.must(s.insert(tx, row("o", "j", ""), row("o", "k", ""), row("o", "", "")))
		}
		s.must(tx.Commit())
		s.wantRowCount(13)
	}},
	{name: "deletions of the same rows by many relays take each row once", run: func(s *suite) {
		bodies := make([]string, 200)
		var ids []waybill.ID
		for _, r := range s.sendBodies(bodies...) {
			ids = append(ids, r.ID)
		}
		total := make(chan int64, s.workers())
		s.must(concurrently(s.workers(), func(int) error {
			for {
				n, err := s.queue.Delete(s.Context(), ids)
				if err != nil && s.queue.Condition(err) == store.Conflict {
					continue
				}
				total <- n
				return err
			}
		}))
		var sum int64
		for range s.workers() {
			sum += <-total
		}
		if sum != 200 || len(s.all()) != 0 {
			s.Errorf("got %d rows deleted and %d left, want 200 and none", sum, len(s.all()))
		}
	}},
}

// wantFound checks what a method answers that reports whether there was such a row.
func (s *suite) wantFound(what string, want bool) func(got bool, err error) {
	return func(got bool, err error) {
		s.Helper()
		if got != want || err != nil {
			s.Errorf("%s: got found %v and error %v, want found %v", what, got, err, want)
		}
	}
}

func (s *suite) wantNotResent(what string, id waybill.ID, asNew bool) {
	s.Helper()
	_, found, err := s.queue.Resend(s.Context(), id, asNew)
	s.wantFound("sending "+what+" again", false)(found, err)
}
