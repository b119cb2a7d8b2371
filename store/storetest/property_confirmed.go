package storetest

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// said is what qconfirmed should hold: of each message what each consumer has answered.
type said map[waybill.ID]map[string]store.Answer

// consumers are few, so that they answer again, and differ in what a lax comparison
// takes for equal.
var consumers = oneOf("shop", "Shop", "audit")

// answer writes some answers in one call, also on messages that are not there.
func (q *queue) answer(t *rapid.T) {
	var all []store.Answer
	for range rapid.IntRange(1, 4).Draw(t, "answers") {
		id := q.draw(t).MessageID
		if rapid.Float64().Draw(t, "row") < 0.1 {
			id = idOf(0, 1<<30)
		}
		a := store.Answer{MessageID: id, Consumer: consumers.Draw(t, "consumer"), Rejected: rapid.Bool().Draw(t, "rejected")}
		if a.Rejected {
			a.Reason = oneOf("", "no", "näh\x00").Draw(t, "reason")
		}
		all = append(all, a)
	}
	must(t, q.queue.SaveAnswers(t.Context(), all))
	for _, a := range all {
		a.Reason = stored(a.Reason)
		of := q.said[a.MessageID]
		if of == nil {
			of = map[string]store.Answer{}
			q.said[a.MessageID] = of
		}
		if before, there := of[a.Consumer]; !there || before.Rejected {
			of[a.Consumer] = a
		}
	}
}

func (q *queue) deleteAnswered(t *rapid.T) {
	ids := []waybill.ID{idOf(0, 1<<30), q.draw(t).MessageID}
	deleted, err := q.queue.DeleteAnswered(t.Context(), ids)
	must(t, err)
	left := q.without(ids)
	if want := int64(len(q.rows) - len(left)); deleted != want {
		t.Fatalf("got %d rows deleted, want %d", deleted, want)
	}
	q.rows = left
	for _, id := range ids {
		delete(q.said, id)
	}
}

// askAgain is what Resend does to a message's answers.
func (q *queue) askAgain(old, id waybill.ID) {
	if old != id {
		delete(q.said, old)
		return
	}
	for consumer, a := range q.said[id] {
		if a.Rejected {
			delete(q.said[id], consumer)
		}
	}
}

// compareAnswers compares the whole of qconfirmed with what is expected, and what a
// consumer has not answered.
func (q *queue) compareAnswers(t *rapid.T) {
	var want []store.Answer
	for id, of := range q.said {
		if len(of) == 0 {
			delete(q.said, id)
		}
		for _, a := range of {
			want = append(want, a)
		}
	}
	slices.SortFunc(want, func(a, b store.Answer) int {
		if order := a.MessageID.Compare(b.MessageID); order != 0 {
			return order
		}
		return strings.Compare(a.Consumer, b.Consumer)
	})
	ids, err := q.queue.Answered(t.Context(), waybill.ID{}, 10_000)
	must(t, err)
	got, err := q.queue.Answers(t.Context(), ids)
	must(t, err)
	for i := range got {
		got[i].TimeStamp = 0
	}
	if len(ids) != len(q.said) || !slices.Equal(got, want) {
		t.Fatalf("got the answers %v on %d messages, want %v on %d", got, len(ids), want, len(q.said))
	}

	consumer, topic := consumers.Draw(t, "who"), rapid.Bool().Draw(t, "topic")
	rows, err := q.queue.ScanUnanswered(t.Context(), "orders", topic, consumer, 0, 1<<40, 10_000)
	must(t, err)
	now := q.clockOf(t)
	var unanswered []waybill.ID
	for _, r := range q.rows {
		of := q.said[r.MessageID]
		_, has := of[consumer]
		if r.Destination == "orders" && r.Topic == topic && r.Status == store.Pending && r.NotBefore <= now && len(of) > 0 && !has {
			unanswered = append(unanswered, r.MessageID)
		}
	}
	if found := field(rows, messageID); !slices.Equal(found, unanswered) {
		t.Fatalf("got %v, which %s has not answered, want %v", found, consumer, unanswered)
	}
}
