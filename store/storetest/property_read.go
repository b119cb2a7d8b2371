package storetest

import (
	"cmp"
	"slices"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// read reads in every way that the relay and the commands do.
func (q *queue) read(t *rapid.T) {
	q.floor(t)
	q.scan(t)
	q.scanDestination(t)
	q.scanDue(t)
	q.sweep(t)
	q.list(t)
}

// window draws where a read begins and ends: ids that there are, and those beside.
func (q *queue) window(t *rapid.T) (after, upTo int64, limit int) {
	if len(q.rows) == 0 {
		return 0, 1, 1
	}
	place := rapid.Int64Range(q.rows[0].ID-1, q.rows[len(q.rows)-1].ID+1)
	return place.Draw(t, "after"), place.Draw(t, "up to"), rapid.IntRange(1, len(q.rows)+1).Draw(t, "limit")
}

// where is the first limit of the expected rows for which keep holds.
func (q *queue) where(limit int, keep func(r store.Row) bool) []store.Row {
	var found []store.Row
	for _, r := range q.rows {
		if keep(r) && len(found) < limit {
			found = append(found, r)
		}
	}
	return found
}

// cutAt is the rows up to the one that reaches maxBytes of headers and bodies, as
// Queue.Scan reads them; all where maxBytes is 0.
func cutAt(rows []store.Row, maxBytes int) []store.Row {
	if maxBytes <= 0 {
		return rows
	}
	bytes := 0
	for i, r := range rows {
		if bytes += len(r.Body) + len(r.Headers); bytes >= maxBytes {
			return rows[:i+1]
		}
	}
	return rows
}

// someBytes is a bound that a few rows reach, often to the byte.
var someBytes = rapid.IntRange(0, 12)

func (q *queue) scan(t *rapid.T) {
	after, _, limit := q.window(t)
	maxBytes := someBytes.Draw(t, "bytes")
	got, err := q.queue.Scan(t.Context(), after, limit, maxBytes)
	must(t, err)
	wantRows(t, got, cutAt(q.where(limit, func(r store.Row) bool { return r.ID > after }), maxBytes))
}

func (q *queue) scanDestination(t *rapid.T) {
	after, upTo, limit := q.window(t)
	maxBytes := someBytes.Draw(t, "bytes")
	destination, topic := destinations.Draw(t, "destination"), rapid.Bool().Draw(t, "topic")
	now := q.clockOf(t)
	got, err := q.queue.ScanDestination(t.Context(), destination, topic, after, upTo, limit, maxBytes)
	must(t, err)
	wantRows(t, got, cutAt(q.where(limit, func(r store.Row) bool {
		return r.ID > after && r.ID <= upTo && r.Destination == destination && r.Topic == topic && r.Status == store.Pending && r.NotBefore <= now
	}), maxBytes))
}

func (q *queue) scanDue(t *rapid.T) {
	_, _, limit := q.window(t)
	maxBytes := someBytes.Draw(t, "bytes")
	var from store.Row // the zero row stands before all
	if len(q.rows) > 0 && rapid.Bool().Draw(t, "goes on") {
		from = *q.draw(t)
	}
	now := q.clockOf(t)
	got, err := q.queue.ScanDue(t.Context(), from.Place(), limit, maxBytes)
	must(t, err)
	// in is what is due in an order where rows of one time are ordered by tie.
	in := func(tie func(a, b store.Row) int) []store.Row {
		order := func(a, b store.Row) int { return cmp.Or(cmp.Compare(a.NotBefore, b.NotBefore), tie(a, b)) }
		due := q.where(len(q.rows), func(r store.Row) bool {
			return r.NotBefore > 0 && r.NotBefore <= now && r.Status == store.Pending && order(r, from) > 0
		})
		slices.SortFunc(due, order)
		return cutAt(due[:min(limit, len(due))], maxBytes)
	}
	tie := func(a, b store.Row) int { return cmp.Compare(a.ID, b.ID) }
	if _, ok := q.dialect.(store.DueByMessageID); ok {
		tie = func(a, b store.Row) int { return a.MessageID.Compare(b.MessageID) }
	}
	wantRows(t, got, in(tie))
}

// sweep also reads whole rows by their ids, as the relay does with what it swept.
func (q *queue) sweep(t *rapid.T) {
	after, upTo, limit := q.window(t)
	got, err := q.queue.Sweep(t.Context(), after, upTo, limit)
	must(t, err)
	whole := q.where(limit, func(r store.Row) bool { return r.ID > after && r.ID <= upTo && r.Status == store.Pending })
	brief := slices.Clone(whole)
	for i := range brief {
		brief[i].Headers, brief[i].Body, brief[i].LastError = "", []byte{}, ""
	}
	wantRows(t, got, brief)
	read, err := q.queue.Rows(t.Context(), append(field(whole, rowID), 1<<40), 0)
	must(t, err)
	wantRows(t, read, whole)
}

func (q *queue) floor(t *rapid.T) {
	below := idOf(minutes.Draw(t, "minute"), rapid.IntRange(0, q.sent+1).Draw(t, "n"))
	var all, some waybill.ID
	for _, r := range q.rows {
		if r.Status != store.Pending {
			continue
		}
		if all.IsZero() || r.MessageID.Compare(all) < 0 {
			all = r.MessageID
		}
	}
	if all.Compare(below) < 0 {
		some = all
	}
	floor, err := q.queue.Floor(t.Context())
	must(t, err)
	floorBelow, err := q.queue.FloorBelow(t.Context(), below)
	must(t, err)
	if floor != all || floorBelow != some {
		t.Fatalf("got the floor %s and %s below %s, want %s and %s", floor, floorBelow, below, all, some)
	}
}

func (q *queue) list(t *rapid.T) {
	after, _, limit := q.window(t)
	destination := oneOf("", "orders", "Orders", "mails ").Draw(t, "destination")
	status := rapid.SampledFrom([]int{store.Pending, store.Rejected}).Draw(t, "status")
	got, err := q.queue.List(t.Context(), destination, status, after, limit)
	must(t, err)
	want := q.where(limit, func(r store.Row) bool {
		return r.ID > after && r.Status == status && (destination == "" || r.Destination == destination)
	})
	wantRows(t, got, want)
	found, err := q.queue.Find(t.Context(), append(field(want, messageID), idOf(0, 1<<30)))
	must(t, err)
	wantRows(t, found, want)
}
