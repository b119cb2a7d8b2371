package storetest

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
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
				s.Errorf("%d rows deleted, want %d", got, want)
			}
		}
		if all := s.all(); len(all) != 1 || all[0].MessageID != keep[0].ID {
			s.Errorf("%d rows are left, want the other one", len(all))
		}
		if got, err := s.queue.Delete(s.Context(), nil); got != 0 || err != nil {
			s.Errorf("deleting nothing: %d, %v", got, err)
		}
	}},
	{name: "a row's id is never used again", run: func(s *suite) {
		var last int64
		for range 3 {
			s.sendBodies("a", "b")
			var ids []waybill.ID
			for _, r := range s.all() {
				if r.ID <= last {
					s.Errorf("id %d after id %d", r.ID, last)
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
				s.Errorf("row %d has %d copies, want %d", i, got, want)
			}
		}
	}},
	{name: "Reject keeps a pending row with the reason, once", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		for i, want := range []bool{true, false} {
			found, err := s.queue.Reject(s.Context(), rows[0].ID, []string{"first reason", "second reason"}[i])
			s.must(err)
			if found != want {
				s.Errorf("rejection %d found %v, want %v", i+1, found, want)
			}
		}
		if r := s.find(rows[0].ID); r.Status != store.Rejected || r.LastError != "first reason" || string(r.Body) != "a" {
			s.Errorf("row %+v, want it rejected for the first reason", r)
		}
		if found, err := s.queue.Reject(s.Context(), waybill.NewID(), "x"); found || err != nil {
			s.Errorf("rejecting an unknown id: found %v, error %v", found, err)
		}
		if r := s.find(rows[1].ID); r.Status != store.Pending {
			s.Error("another row is rejected too")
		}
	}},
	{name: "a reason of any length and bytes is stored as text", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		for i, reason := range []string{"invalid \xff\xfe UTF-8 and \x00", strings.Repeat("🚚", 5000), "'; \\ \" $1 ? 日本語"} {
			_, err := s.queue.Reject(s.Context(), rows[i].ID, reason)
			s.must(err)
			got := s.find(rows[i].ID).LastError
			if got == "" || !utf8.ValidString(got) || len(got) > 4000 {
				s.Errorf("reason of %d bytes, valid UTF-8 %v", len(got), utf8.ValidString(got))
			}
			if i == 2 && got != reason {
				s.Errorf("reason %q, want %q", got, reason)
			}
		}
	}},
	{name: "Postpone sets the next copy's time by the database's clock", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		before := s.clock()
		for i := range 2 {
			found, err := s.queue.Postpone(s.Context(), rows[0].ID, time.Minute, 1, "busy")
			s.must(err)
			if !found {
				s.Fatal("the row was not found")
			}
			r := s.find(rows[0].ID)
			if at := r.NotBefore - time.Minute.Microseconds(); at < before || at > s.clock() {
				s.Errorf("not before %d, want a minute after %d", r.NotBefore, before)
			}
			if r.Failures != i+1 || r.Retry != i+1 || r.LastError != "busy" || r.Status != store.Pending {
				s.Errorf("after postponement %d: %+v", i+1, r)
			}
		}
		found, err := s.queue.Postpone(s.Context(), rows[0].ID, time.Second, 0, "asked for")
		s.must(err)
		if r := s.find(rows[0].ID); !found || r.Failures != 2 || r.Retry != 3 {
			s.Errorf("a delay that the consumer asked for: found %v, %+v", found, r)
		}
		s.reject(rows[1].ID)
		for _, id := range []waybill.ID{rows[1].ID, waybill.NewID()} {
			if found, err := s.queue.Postpone(s.Context(), id, time.Minute, 1, "busy"); found || err != nil {
				s.Errorf("postponing what is not pending: found %v, error %v", found, err)
			}
		}
		if r := s.find(rows[1].ID); r.NotBefore != 0 || r.LastError != "no" {
			s.Errorf("a rejected row was postponed: %+v", r)
		}
	}},
	{name: "Resend makes a rejected row pending, due now", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		_, err := s.queue.Postpone(s.Context(), rows[0].ID, time.Hour, 3, "busy")
		s.must(err)
		if _, found, err := s.queue.Resend(s.Context(), rows[0].ID, false); found || err != nil {
			s.Errorf("sending a pending row again: found %v, error %v", found, err)
		}
		s.reject(rows[0].ID)
		was, before := s.find(rows[0].ID), s.clock()
		id, found, err := s.queue.Resend(s.Context(), rows[0].ID, false)
		s.must(err)
		if !found || id != rows[0].ID {
			s.Fatalf("found %v, id %s", found, id)
		}
		now := s.find(id)
		if now.NotBefore < before || now.NotBefore > s.clock() {
			s.Errorf("due at %d, want now (%d)", now.NotBefore, before)
		}
		if now.ID != was.ID || now.Status != store.Pending || now.Retry != 0 || now.Failures != 0 || now.LastError != "" || string(now.Body) != "a" || now.TimeStamp != was.TimeStamp {
			s.Errorf("row %+v, was %+v", now, was)
		}
		due, err := s.queue.ScanDue(s.Context(), 0, 0, 10, 0)
		s.must(err)
		s.wantBodies(due, "a")
		if _, found, err := s.queue.Resend(s.Context(), rows[0].ID, false); found || err != nil {
			s.Errorf("sending it again twice: found %v, error %v", found, err)
		}
	}},
	{name: "Resend as new gives a rejected row a new id", run: func(s *suite) {
		rows := s.sendBodies("a")
		s.reject(rows[0].ID)
		was := s.find(rows[0].ID)
		id, found, err := s.queue.Resend(s.Context(), was.MessageID, true)
		s.must(err)
		if !found || id == was.MessageID || !id.IsV7() {
			s.Fatalf("found %v, id %s", found, id)
		}
		if now := s.find(id); now.ID != was.ID || now.Status != store.Pending || now.TimeStamp != was.TimeStamp {
			s.Errorf("row %+v, was %+v", now, was)
		}
		if _, found, err := s.queue.Resend(s.Context(), was.MessageID, true); found || err != nil {
			s.Errorf("sending the old id again: found %v, error %v", found, err)
		}
	}},
	{name: "Discard deletes a row if it is rejected", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		s.reject(rows[0].ID)
		for i, want := range []bool{true, false} {
			if found, err := s.queue.Discard(s.Context(), rows[i].ID); found != want || err != nil {
				s.Errorf("row %d: found %v, error %v, want %v", i, found, err, want)
			}
		}
		if found, err := s.queue.Discard(s.Context(), rows[0].ID); found || err != nil {
			s.Errorf("discarding twice: found %v, error %v", found, err)
		}
		s.wantBodies(s.all(), "b")
	}},
	{name: "a relay does not wait for a sender whose transaction is open, nor holds it off", run: func(s *suite) {
		if s.dialect.Capabilities().SingleWriter {
			s.Skip("Capabilities.SingleWriter: whatever writes waits for a transaction that writes")
		}
		rows := s.sendBodies("a", "b", "c", "d")
		tx, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		defer tx.Rollback()
		s.must(s.insert(tx, row("o", "k", ""), row("o", "", "")))
		ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
		defer cancel()
		all := s.all()
		// So many ids that a scan of the table looks cheaper than to look each one up.
		copies, gone := []int64{all[0].ID, all[1].ID}, []waybill.ID{rows[0].ID, rows[3].ID}
		for i := range int64(300) {
			copies, gone = append(copies, 1_000_000+i), append(gone, waybill.NewID())
		}
		for range 3 {
			s.must(s.queue.CountCopies(ctx, copies))
			_, err = s.queue.Postpone(ctx, rows[1].ID, 0, 1, "busy")
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
		if n := len(s.all()); n != 13 {
			s.Errorf("%d rows, want 13", n)
		}
	}},
	{name: "deletions of the same rows by many relays take each row once", run: func(s *suite) {
		bodies := make([]string, 200)
		var ids []waybill.ID
		for _, r := range s.sendBodies(bodies...) {
			ids = append(ids, r.ID)
		}
		total := make(chan int64, s.workers())
		s.must(together(s.workers(), func(int) error {
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
			s.Errorf("%d rows deleted and %d left, want 200 and none", sum, len(s.all()))
		}
	}},
}
