package relay

import (
	"context"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// source is where a row was read, which decides how it is admitted.
type source int

const (
	readAhead   source = iota // after the cursor, or in a gap that it has left
	readDue                   // among the delayed rows: its time has come
	readBacklog               // among those that waited for room in their window
	readMissed                // by the sweep
)

// admit puts a row that was read into its destination's window and publishing queue,
// unless it is there already, is not to be sent now, or finds no room: then it stays
// in the table for scanBacklog, and left is true. A row of which no message can be made is
// rejected. known is what named consumers have answered: a row with answers has been sent,
// so it goes to the stragglers, but for one that is due, which is to be sent again.
func (t *term) admit(ctx context.Context, r *store.Row, from source, known []store.Answer) (left bool) {
	switch {
	case r.Status != store.Pending,
		from == readAhead && r.NotBefore > t.pump.dueMark.Load(), // scanDue's
		from == readMissed && r.NotBefore > t.pump.databaseNow():
		return false
	}
	if len(known) > 0 && !t.asksAgain(r, from, known) {
		t.resume(ctx, r, known)
		return false
	}
	t.mu.Lock()
	if t.inflights[r.MessageID] != nil {
		t.mu.Unlock()
		return false
	}
	l := t.laneOf(r.Destination, r.Topic)
	if l == nil || from != readBacklog && l.leaves(r.ID) {
		t.mu.Unlock()
		return l != nil
	}
	if l.paused || l.room() <= 0 || l.queueFull() {
		l.leaveInTable(r.ID)
		t.mu.Unlock()
		return true
	}
	m, err := t.encode(r, l)
	if err != nil {
		t.mu.Unlock()
		t.reject(ctx, r.MessageID, unsendable(err))
		return false
	}
	f := l.track(r)
	if len(known) > 0 {
		t.forgetParked(f.id) // what they lack is here now
		l.recall(f, known)
	}
	f.due = from == readDue
	l.enqueue(f, m)
	t.mu.Unlock()
	return false
}

// encode makes the message of a row's next copy. mu is held.
func (t *term) encode(r *store.Row, l *lane) (broker.Message, error) {
	o := wire.Origin{Producer: t.r.o.Producer, ReceiptTo: l.receiptTo}
	if floor := t.floor.Load(); floor != nil {
		o.Floor = *floor
	}
	return wire.Encode(r, r.Retry, o)
}

// unsendable is the reason to reject a row of which no message can be made.
func unsendable(err error) string { return "cannot be sent: " + err.Error() }
