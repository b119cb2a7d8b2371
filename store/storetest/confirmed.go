package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var confirmedCases = []testCase{
	{name: "answers are read as they were written, with the database's time", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		before := s.clock()
		s.saveAnswers(confirms("shop", rows[0].ID), rejects("audit", rows[0].ID, `näh '"\`), confirms("shop", rows[1].ID))
		s.wantAnswers([]waybill.ID{rows[0].ID, rows[1].ID, rows[2].ID, waybill.NewID()},
			rejects("audit", rows[0].ID, `näh '"\`), confirms("shop", rows[0].ID), confirms("shop", rows[1].ID))
		s.wantAnswers([]waybill.ID{rows[1].ID}, confirms("shop", rows[1].ID))
		s.wantAnswers(nil)
		for _, a := range s.answers(rows[0].ID, rows[1].ID) {
			if a.TimeStamp < before || a.TimeStamp > s.clock() {
				s.Errorf("got an answer of %d, want one of now (%d)", a.TimeStamp, before)
			}
		}
	}},
	{name: "a confirmation stays, and takes the place of a rejection", run: func(s *suite) {
		id := s.sendBodies("a")[0].ID
		for _, c := range []struct {
			name      string
			say, want store.Answer
		}{
			{"the first answer", rejects("shop", id, "no"), rejects("shop", id, "no")},
			{"another reason", rejects("shop", id, "never"), rejects("shop", id, "never")},
			{"a confirmation after a rejection", confirms("shop", id), confirms("shop", id)},
			{"a rejection after a confirmation", rejects("shop", id, "no"), confirms("shop", id)},
			{"a confirmation again", confirms("shop", id), confirms("shop", id)},
		} {
			s.sub(c.name, func(s *suite) {
				s.saveAnswers(c.say)
				s.wantAnswers([]waybill.ID{id}, c.want)
			})
		}
	}},
	{name: "of the answers of one consumer in one call a confirmation counts, or the last", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		a, b := rows[0].ID, rows[1].ID
		s.saveAnswers(rejects("shop", b, "first"), confirms("shop", a), rejects("shop", a, "late"), rejects("shop", b, "last"))
		s.wantAnswers([]waybill.ID{a, b}, confirms("shop", a), rejects("shop", b, "last"))
	}},
	{name: "consumers' names differ by case, accents and spaces", run: func(s *suite) {
		id := s.sendBodies("a")[0].ID
		names := []string{"Shop", "shop", "shop ", "shöp", strings.Repeat("x", 255)}
		var want []store.Answer
		for _, name := range names {
			want = append(want, confirms(name, id))
		}
		s.saveAnswers(want...)
		s.wantAnswers([]waybill.ID{id}, want...)
	}},
	{name: "any number of answers is written, found and deleted", run: func(s *suite) {
		n := s.dialect.Capabilities().MaxBatch + 10
		rows := s.sendBodies(make([]string, n)...)
		ids := field(rows, func(r store.NewRow) waybill.ID { return r.ID })
		var all []store.Answer
		for _, id := range ids {
			all = append(all, confirms("shop", id), rejects("audit", id, "no"))
		}
		s.saveAnswers(all...)
		if got := len(s.answers(ids...)); got != 2*n {
			s.Fatalf("got %d answers, want %d", got, 2*n)
		}
		slices.SortFunc(ids, waybill.ID.Compare)
		var paged []waybill.ID
		for after := (waybill.ID{}); ; after = paged[len(paged)-1] {
			page, err := s.queue.Answered(s.Context(), after, 100)
			s.must(err)
			paged = append(paged, page...)
			if len(page) < 100 {
				break
			}
		}
		if !slices.Equal(paged, ids) {
			s.Errorf("got %d ids of answers, want each of the %d once and in order", len(paged), n)
		}
		s.must(s.queue.DeleteAnswers(s.Context(), ids[1:]))
		s.must(s.queue.DeleteAnswers(s.Context(), nil))
		s.wantAnswers(ids, rejects("audit", ids[0], "no"), confirms("shop", ids[0]))
		s.wantRowCount(n)
	}},
	{name: "DeleteAnswered deletes rows with their answers, and answers without a row", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		gone := waybill.NewID()
		s.saveAnswers(confirms("shop", rows[0].ID), confirms("shop", rows[1].ID), confirms("shop", gone))
		n, err := s.queue.DeleteAnswered(s.Context(), []waybill.ID{rows[0].ID, rows[2].ID, gone})
		s.must(err)
		if n != 2 {
			s.Errorf("got %d rows deleted, want 2", n)
		}
		s.wantBodies(s.all(), "b")
		s.wantAnswers([]waybill.ID{rows[0].ID, rows[1].ID, gone}, confirms("shop", rows[1].ID))
		if n, err := s.queue.DeleteAnswered(s.Context(), []waybill.ID{gone}); n != 0 || err != nil {
			s.Errorf("a row that is gone: got %d deleted and error %v, want none", n, err)
		}
	}},
	{name: "Resend asks those again who have rejected, and as new all", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		for i, asNew := range []bool{false, true} {
			id := rows[i].ID
			s.saveAnswers(confirms("shop", id), rejects("audit", id, "no"))
			_, found, err := s.queue.Resend(s.Context(), id, asNew) // pending: nothing happens
			s.wantFound("sending a pending row again", false)(found, err)
			s.wantAnswers([]waybill.ID{id}, rejects("audit", id, "no"), confirms("shop", id))
			s.reject(id)
			newID, _, err := s.queue.Resend(s.Context(), id, asNew)
			s.must(err)
			if asNew {
				s.wantAnswers([]waybill.ID{id, newID})
			} else {
				s.wantAnswers([]waybill.ID{id}, confirms("shop", id))
			}
		}
	}},
	{name: "Discard deletes the answers of a rejected row", run: func(s *suite) {
		rows := s.sendBodies("a", "b")
		for _, r := range rows {
			s.saveAnswers(rejects("audit", r.ID, "no"))
		}
		s.reject(rows[0].ID)
		s.wantFound("discarding a rejected row", true)(s.queue.Discard(s.Context(), rows[0].ID))
		s.wantFound("discarding a pending row", false)(s.queue.Discard(s.Context(), rows[1].ID))
		s.wantAnswers([]waybill.ID{rows[0].ID, rows[1].ID}, rejects("audit", rows[1].ID, "no"))
	}},
	{name: "ScanUnanswered reads what others have answered and a consumer has not", run: func(s *suite) {
		later := row("o", "", "later")
		later.NotBefore = s.clock() + time.Hour.Microseconds()
		topic := row("o", "", "topic")
		topic.Topic = true
		rows := []store.NewRow{row("o", "", "1"), row("o", "", "of nobody"), row("O", "", "other"), later, topic,
			row("o", "", "its own"), row("o", "", "rejected"), row("o", "", "2"), row("o", "", "3")}
		s.send(rows...)
		for i, r := range rows {
			switch string(r.Body) {
			case "of nobody":
			case "its own":
				s.saveAnswers(confirms("audit", r.ID), confirms("shop", r.ID))
			case "2":
				s.saveAnswers(rejects("shop", r.ID, "no"))
			default:
				s.saveAnswers(confirms("shop", rows[i].ID))
			}
		}
		s.reject(rows[6].ID)
		all := s.all()
		end := all[len(all)-1].ID
		for _, c := range []struct {
			name        string
			topic       bool
			consumer    string
			after, upTo int64
			limit       int
			want        []waybill.ID
		}{
			{"all", false, "audit", 0, end, 10, []waybill.ID{rows[0].ID, rows[7].ID, rows[8].ID}},
			{"a page", false, "audit", 0, end, 2, []waybill.ID{rows[0].ID, rows[7].ID}},
			{"bounds", false, "audit", all[0].ID, end - 1, 10, []waybill.ID{rows[7].ID}},
			{"a topic", true, "audit", 0, end, 10, []waybill.ID{rows[4].ID}},
			{"another consumer's name", false, "Audit", 0, end, 10, []waybill.ID{rows[0].ID, rows[5].ID, rows[7].ID, rows[8].ID}},
			{"who has answered all", false, "shop", 0, end, 10, nil},
		} {
			s.sub(c.name, func(s *suite) {
				got, err := s.queue.ScanUnanswered(s.Context(), "o", c.topic, c.consumer, c.after, c.upTo, c.limit)
				s.must(err)
				if ids := field(got, messageID); !slices.Equal(ids, c.want) {
					s.Errorf("got %s, want %s", ids, c.want)
				}
				for _, r := range got {
					if len(r.Body) > 0 {
						s.Errorf("got the body %q, want none", r.Body)
					}
				}
			})
		}
	}},
	{name: "FindBriefly finds rows whatever their status, without their bodies", run: func(s *suite) {
		rows := s.sendBodies("a", "b", "c")
		s.reject(rows[2].ID)
		got, err := s.queue.FindBriefly(s.Context(), []waybill.ID{rows[2].ID, waybill.NewID(), rows[0].ID})
		s.must(err)
		if ids := field(got, messageID); !slices.Equal(ids, []waybill.ID{rows[0].ID, rows[2].ID}) {
			s.Fatalf("got %s, want the two", ids)
		}
		if got[1].Status != store.Rejected || len(got[0].Body) > 0 || got[0].Destination != rows[0].Destination {
			s.Errorf("got %+v, want the rows without bodies", got)
		}
	}},
	{name: "consumers that answer at the same time all have their say", run: func(s *suite) {
		rows := s.sendBodies(make([]string, 50)...)
		s.must(concurrently(s.workers(), func(i int) error {
			var all []store.Answer
			for j := range rows {
				if i%2 > 0 {
					j = len(rows) - 1 - j // in any order
				}
				all = append(all, confirms(fmt.Sprint("consumer ", i), rows[j].ID), rejects("all", rows[j].ID, "no"))
			}
			for {
				if err := s.queue.SaveAnswers(s.Context(), all); s.queue.Condition(err) != store.Conflict {
					return err
				}
			}
		}))
		ids := field(rows, func(r store.NewRow) waybill.ID { return r.ID })
		if got, want := len(s.answers(ids...)), len(rows)*(s.workers()+1); got != want {
			s.Errorf("got %d answers, want %d", got, want)
		}
	}},
}

func confirms(consumer string, id waybill.ID) store.Answer {
	return store.Answer{MessageID: id, Consumer: consumer}
}

func rejects(consumer string, id waybill.ID, reason string) store.Answer {
	return store.Answer{MessageID: id, Consumer: consumer, Rejected: true, Reason: reason}
}

func (s *suite) saveAnswers(all ...store.Answer) {
	s.Helper()
	s.must(s.queue.SaveAnswers(s.Context(), all))
}

func (s *suite) answers(ids ...waybill.ID) []store.Answer {
	s.Helper()
	all, err := s.queue.Answers(s.Context(), ids)
	s.must(err)
	return all
}

// wantAnswers compares all that there is on some messages, but for the times.
func (s *suite) wantAnswers(ids []waybill.ID, want ...store.Answer) {
	s.Helper()
	got := s.answers(ids...)
	for i := range got {
		got[i].TimeStamp = 0
	}
	if !slices.Equal(got, want) {
		s.Errorf("got the answers %v, want %v", got, want)
	}
}
