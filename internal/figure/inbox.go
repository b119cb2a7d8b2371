package figure

import (
	"context"

	"github.com/waybill-go/waybill/inbox"
)

func inboxGauge(name, help string, value func(*inbox.Stats) float64) single[inbox.Stats] {
	return single[inbox.Stats]{Family{Name: "inbox." + name, Help: help}, value}
}

func inboxCounter(name, help string, value func(*inbox.Stats) int64) single[inbox.Stats] {
	return single[inbox.Stats]{Family{Name: "inbox." + name, Help: help, Kind: Counter}, func(s *inbox.Stats) float64 { return float64(value(s)) }}
}

var inboxFamilies = []single[inbox.Stats]{
	inboxGauge("connected", "Whether the inbox has a connection to the broker.", func(s *inbox.Stats) float64 { return flag(s.Connected) }),
	inboxGauge("stuck", "Calls of handlers that have not returned although their time is over.", func(s *inbox.Stats) float64 { return float64(s.Stuck) }),
	inboxGauge("paused", "Destinations that are paused.", func(s *inbox.Stats) float64 { return float64(len(s.Paused)) }),
	inboxCounter("received", "Messages received, copies included.", func(s *inbox.Stats) int64 { return s.Received }),
	inboxCounter("handled", "Messages whose effect was committed.", func(s *inbox.Stats) int64 { return s.Handled }),
	inboxCounter("duplicates", "Copies dropped.", func(s *inbox.Stats) int64 { return s.Duplicates }),
	inboxCounter("superseded", "Stale states skipped.", func(s *inbox.Stats) int64 { return s.Superseded }),
	inboxCounter("went_back", "Of these, states made after the one that was applied.", func(s *inbox.Stats) int64 { return s.WentBack }),
	inboxCounter("forgotten", "Messages rejected because nothing can tell whether they took effect.", func(s *inbox.Stats) int64 { return s.Forgotten }),
	inboxCounter("retried", "Failures after which the message comes again.", func(s *inbox.Stats) int64 { return s.Retried }),
	inboxCounter("rejected", "Messages given up.", func(s *inbox.Stats) int64 { return s.Rejected }),
	inboxCounter("kept", "Messages that went to n_rejected.", func(s *inbox.Stats) int64 { return s.Kept }),
	inboxCounter("panics", "Calls of a handler that panicked, or ended its goroutine.", func(s *inbox.Stats) int64 { return s.Panics }),
	inboxCounter("overdue", "Calls of a handler that had not returned when their time was over.", func(s *inbox.Stats) int64 { return s.Overdue }),
	inboxCounter("receipts", "Receipts that the broker took.", func(s *inbox.Stats) int64 { return s.Receipts }),
	inboxCounter("receipts_lost", "Receipts that it did not take.", func(s *inbox.Stats) int64 { return s.ReceiptsLost }),
	inboxCounter("pruned", "Records forgotten because of their age.", func(s *inbox.Stats) int64 { return s.Pruned }),
	inboxCounter("troubles", "Transactions that failed because of the database.", func(s *inbox.Stats) int64 { return s.Troubles }),
	inboxCounter("disconnects", "Broker connections that were lost or could not be made.", func(s *inbox.Stats) int64 { return s.Disconnects }),
}

var (
	keptUp       = Family{Name: "kept.up", Help: "Whether the messages that the consumer keeps could be counted the last time."}
	keptMessages = Family{
		Name: "kept.messages", Labels: []string{"status"},
		Help: "Messages that the consumer keeps, of 10,000 at most: rejected ones wait for a person, the others for their next try.",
	}
)

// Inbox are the figures of an inbox and of what its consumer keeps.
type Inbox struct {
	inbox *inbox.Inbox
	kept  *Kept
}

// NewInbox reads from an inbox, and from the count of what its consumer keeps.
func NewInbox(in *inbox.Inbox, kept *Kept) *Inbox { return &Inbox{in, kept} }

// Families implements Source.
func (*Inbox) Families() (all []*Family) {
	for i := range inboxFamilies {
		all = append(all, &inboxFamilies[i].Family)
	}
	return append(all, &keptUp, &keptMessages)
}

// Read implements Source.
func (in *Inbox) Read(ctx context.Context) (all []Figure) {
	s := in.inbox.Stats()
	kept, ok := in.kept.Read(ctx)
	for i := range inboxFamilies {
		f := &inboxFamilies[i]
		all = append(all, Figure{Family: &f.Family, Value: f.value(&s)})
	}
	all = append(all, Figure{Family: &keptUp, Value: flag(!kept.Failing)})
	if !ok {
		return all
	}
	return append(all,
		Figure{Family: &keptMessages, Value: float64(kept.Rejected), At: []string{"rejected"}},
		Figure{Family: &keptMessages, Value: float64(kept.Waiting), At: []string{"waiting"}})
}
