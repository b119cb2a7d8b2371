package survey

import (
	"strings"
	"time"

	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// patience is how old a message may be before somebody should ask why it waits.
const patience = 30 * time.Second

// relayText says which relay leads.
func relayText(lease *store.Lease, live *relay.Stats) Sentence {
	left := time.Duration(lease.Left) * time.Microsecond
	switch {
	case live != nil && live.Leading && !live.Connected:
		return say("The relay of this program leads, and has no connection to the broker.")
	case live != nil && live.Leading:
		return say("The relay of this program leads: it sends what waits here, and is connected to the broker.")
	case lease.Holder != "" && left > 0 && live != nil:
		return say("The relay on %s leads: it sends what waits here. That of this program stands by.", relayName(lease.Holder))
	case lease.Holder != "" && left > 0:
		return say("The relay on %s leads: it sends what waits here.", relayName(lease.Holder))
	case lease.Holder != "":
		return say("No relay leads, so nothing is sent: the lease of the one on %s ended %s ago. Is a relay running?", relayName(lease.Holder), Span(left))
	case lease.Present:
		return say("No relay leads, so nothing is sent: the last one has stopped. Start one.")
	}
	return say("No relay has ever led here, so nothing is sent: start one, such as 'waybill relay'.")
}

// relayName is a relay's name in the lease as a person reads it: without its random part.
func relayName(holder string) string {
	host, rest, _ := strings.Cut(holder, "/")
	process, _, whole := strings.Cut(rest, "/")
	if !whole || host == "" {
		return holder
	}
	return host + " (process " + process + ")"
}

// StandbyText says who would lead if the leader did not.
func (r *Relay) StandbyText() Sentence {
	var names []string
	for _, holder := range r.Standbys {
		names = append(names, relayName(holder))
	}
	switch {
	case len(names) > 0:
		return say("Others stand by to take its place: %s.", strings.Join(names, ", "))
	case r.Leading || r.Here:
		return say("No other relay says that it stands by to take its place.")
	}
	return Sentence{}
}

// explain says how a destination is, and why its messages wait.
func (d *Destination) explain(r *Relay, live *relay.Stats) {
	state, why := d.why(r, live)
	d.State = state
	if !why.IsZero() {
		d.Why = &why
	}
}

func (d *Destination) why(r *Relay, live *relay.Stats) (State, Sentence) {
	old := d.OldestAge > patience.Seconds()
	own := d.own
	idle, rejected := d.InFlight == nil || *d.InFlight == 0, d.Rejected.N > 0
	switch {
	case d.Pending.N == 0 && !d.Pending.More && idle && rejected:
		return OnlyRejected, say("Nothing waits but what was rejected (%s): read the reasons, mend the cause, then send the messages again or discard them.", d.Rejected.Text())
	case d.Pending.N == 0 && idle && !rejected:
		return Moving, Sentence{}
	case !r.Leading && !r.Here:
		return Trouble, say("No relay leads this outbox, so nothing is sent.")
	case r.Here && !live.Connected:
		return Trouble, say("The relay has no connection to the broker; its log says why.")
	case d.noted != "":
		return Trouble, say("%s", d.noted)
	case own != nil && own.LastError != "":
		return Trouble, say("The broker refuses messages: %s", own.LastError)
	case own != nil && own.Silent:
		return Trouble, say("No receipts come, though copies were sent to find out. Is a consumer running, and does it send receipts?")
	case len(d.Lagging) > 0:
		l := d.Lagging[0]
		return Waiting, say("%s has not confirmed %d messages that others have; the oldest since %s.", l.Consumer, l.Waiting, l.Since.Format("2006-01-02 15:04:05 MST"))
	case d.Pending.N == 0 && idle:
		return Waiting, say("What was rejected (%s) waits for a person. Whether more waits was not counted: too many rows lie before it.", d.Rejected.Text())
	case d.Failed > 0 && d.Failed+d.Delayed >= d.Pending.N:
		return Trouble, say("The consumer fails with them: %d messages are to be tried again.", d.Failed)
	case d.Failed > 0 && old:
		return Waiting, say("The consumer has failed with %d of these messages, which are tried again.", d.Failed)
	case d.Delayed > 0 && d.Delayed >= d.Pending.N:
		return Moving, say("They are due later.")
	case old && own != nil && own.Backlog:
		return Waiting, say("More messages come than are confirmed: %d are sent and not confirmed, and the rest waits for them.", own.Unconfirmed)
	case old && d.MostCopies > 0:
		return Trouble, say("The oldest waits since %s, and copies were sent in vain. Is a consumer running, and does it send receipts?", Span(d.age()))
	case old:
		return Waiting, say("The oldest waits since %s. Is a consumer running, and does it send receipts?", Span(d.age()))
	}
	return Moving, Sentence{}
}

func (d *Destination) age() time.Duration {
	return time.Duration(d.OldestAge * float64(time.Second))
}
