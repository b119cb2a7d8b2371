package survey

import (
	"context"
	"slices"
	"time"

	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// countLimit is how many pending rows are counted, half of them the oldest and half the
// newest, and how many rejected ones.
const countLimit = 10_000

// twinTime is how long a twin is told of after it was heard last.
const twinTime = 10 * time.Minute

// Outbox is the state of the producer's tables.
type Outbox struct {
	At       time.Time `json:"at"` // by the database's clock
	Pending  Count     `json:"pending"`
	Rejected Count     `json:"rejected"`
	Relay    Relay     `json:"relay"`
	// Destinations are those that have rows among those that were counted, or that the
	// relay knows: those in trouble first, then those that wait longest.
	Destinations []Destination `json:"destinations"`
	// Capped says that there are more pending rows than were counted: of those only some of
	// the oldest and of the newest were.
	Capped bool `json:"capped,omitempty"`
}

// Relay is the relay that leads.
type Relay struct {
	Holder  string   `json:"holder,omitempty"` // "" where none has led, or the last one stopped
	Leading bool     `json:"leading"`
	Left    float64  `json:"lease_left_seconds"` // below 0 once the lease has ended
	Here    bool     `json:"here"`               // the one that leads runs in this process
	Text    Sentence `json:"text"`
	// Standbys are relays that have said within half a minute that they stand by, at most
	// eight; those of older versions do not say so.
	Standbys []string `json:"standbys"`
	Twin     string   `json:"twin,omitempty"` // a relay of a copy of this database, heard lately
}

// Destination is what waits for one destination.
type Destination struct {
	Destination string `json:"destination"`
	Topic       bool   `json:"topic"`
	Pending     Count  `json:"pending"`
	Rejected    Count  `json:"rejected"`
	// InFlight is how many messages are sent and not confirmed; null where the relay that
	// leads does not run in this process.
	InFlight *int       `json:"in_flight"`
	Oldest   *time.Time `json:"oldest,omitempty"` // of the pending rows that were counted
	// OldestAge is in seconds; below 0 where that message is due later.
	OldestAge  float64 `json:"oldest_age_seconds"`
	Failed     int64   `json:"failed"`  // pending rows that a handler has failed with
	Delayed    int64   `json:"delayed"` // pending rows that are due later
	MostCopies int     `json:"most_copies"`
	// P50 and P99 are the times in seconds from when messages were sent, or due, to when their
	// consumers had confirmed them, of half of them and of 99 in 100; null where none were
	// confirmed lately, or as InFlight.
	P50   *float64  `json:"p50_seconds"`
	P99   *float64  `json:"p99_seconds"`
	State State     `json:"state"`
	Why   *Sentence `json:"why,omitempty"` // why it waits; null where nothing is wrong
	// Lagging are named consumers that have not confirmed what others have.
	Lagging []Lag `json:"lagging,omitempty"`

	own   *relay.DestinationStats // what the relay of this process says; nil where it says nothing
	noted string                  // what another process' relay has noted of why it waits; "" for nothing
}

// Lag is a named consumer that lags.
type Lag struct {
	Consumer string    `json:"consumer"`
	Waiting  int       `json:"waiting"`
	Since    time.Time `json:"since"`
	Silent   bool      `json:"silent"`
}

// State is how a destination is, in a word.
type State string

// States of a Destination, from bad to good.
const (
	Trouble      State = "trouble"  // something keeps its messages from moving
	OnlyRejected State = "rejected" // nothing waits, but for a person to decide on what was rejected
	Paused       State = "paused"   // somebody, or a breaker, has paused it
	Waiting      State = "waiting"  // messages wait, and it may be well
	Moving       State = "moving"   // messages come and go, or there are none
)

var order = map[State]int{Trouble: 0, OnlyRejected: 1, Paused: 2, Waiting: 3, Moving: 4}

// Outbox counts what waits, by destination. live is what the relay of this process says; nil
// where there is none. It counts at most 5,000 of the oldest rows, 5,000 of the newest and 10,000
// of the rejected ones, and of each status, beyond a few, for as long as within at most.
func (r *Reader) Outbox(ctx context.Context, live *relay.Stats, within time.Duration) (*Outbox, error) {
	clock, err := r.queue.Clock(ctx)
	if err != nil {
		return nil, err
	}
	o := &Outbox{At: time.UnixMicro(clock).UTC()}
	if err := r.readRelay(ctx, o, live); err != nil {
		return nil, err
	}
	counted, err := r.queue.Tally(ctx, countLimit, within)
	if err != nil {
		return nil, err
	}
	o.Capped = counted.PendingBounded
	known := lanes{}
	for i := range counted.Destinations {
		t := &counted.Destinations[i]
		if t.Status == store.Rejected {
			known.at(t.Destination, t.Topic).Rejected = Count{t.Rows, counted.RejectedBounded}
		} else {
			known.at(t.Destination, t.Topic).count(t, o.Capped, o.At)
		}
	}
	if live != nil && live.Leading {
		for i := range live.Destinations {
			d := &live.Destinations[i]
			known.at(d.Destination, d.Topic).live(d)
		}
	}
	if err := r.readWaits(ctx, known, live); err != nil {
		return nil, err
	}
	for _, d := range known {
		d.Pending.More = d.Pending.More || o.Capped // rows may lie between those that were counted
		d.explain(&o.Relay, live)
		o.Pending.add(d.Pending)
		o.Rejected.add(d.Rejected)
		o.Destinations = append(o.Destinations, *d)
	}
	o.Pending.More = o.Capped
	slices.SortFunc(o.Destinations, worstFirst)
	return o, nil
}

// lane is a destination's name and type.
type lane struct {
	name  string
	topic bool
}

type lanes map[lane]*Destination

func (l lanes) at(name string, topic bool) *Destination {
	key := lane{name, topic}
	if l[key] == nil {
		l[key] = &Destination{Destination: name, Topic: topic}
	}
	return l[key]
}

// count adds rows that were counted.
func (d *Destination) count(t *store.Tally, capped bool, now time.Time) {
	d.Pending.add(Count{t.Rows, capped})
	d.Failed += t.Failed
	d.Delayed += t.Delayed
	d.MostCopies = max(d.MostCopies, t.MaxRetry)
	if oldest := t.Oldest.Time().UTC(); d.Oldest == nil || oldest.Before(*d.Oldest) {
		d.Oldest, d.OldestAge = &oldest, now.Sub(oldest).Round(time.Millisecond).Seconds()
	}
}

// live adds what the relay says.
func (d *Destination) live(s *relay.DestinationStats) {
	d.own, d.InFlight = s, &s.Unconfirmed
	if s.Latency.Count > 0 {
		p50, p99 := s.Latency.Quantile(0.5).Seconds(), s.Latency.Quantile(0.99).Seconds()
		d.P50, d.P99 = &p50, &p99
	}
	for _, c := range s.Lagging {
		d.Lagging = append(d.Lagging, Lag{c.Consumer, c.Waiting, c.Since.UTC(), c.Silent})
	}
}

func (r *Reader) readRelay(ctx context.Context, o *Outbox, live *relay.Stats) error {
	lease, err := r.queue.Lease(ctx, leaseName)
	if err != nil {
		return err
	}
	o.Relay = Relay{Holder: lease.Holder, Leading: lease.Holder != "" && lease.Left > 0, Here: live != nil && live.Leading}
	if lease.Holder != "" {
		o.Relay.Left = (time.Duration(lease.Left) * time.Microsecond).Round(time.Millisecond).Seconds()
	}
	o.Relay.Text = relayText(&lease, live)
	standbys, err := r.queue.Standbys(ctx)
	if err != nil {
		return err
	}
	o.Relay.Standbys = slices.DeleteFunc(append([]string{}, standbys...), func(holder string) bool { return holder == lease.Holder })
	twin, ago, err := r.queue.Twin(ctx)
	if err == nil && twin != "" && ago < twinTime {
		o.Relay.Twin = twin
	}
	return err
}

// readWaits reads what the relay of another process has noted of why messages wait.
func (r *Reader) readWaits(ctx context.Context, known lanes, live *relay.Stats) error {
	if live != nil && live.Leading {
		return nil // it is asked itself
	}
	waits, err := r.queue.Waits(ctx)
	for _, w := range waits { // that of all destinations comes first
		if w.Destination == "" {
			for _, d := range known {
				d.noted = w.Why
			}
		} else if d := known[lane{w.Destination, w.Topic}]; d != nil {
			d.noted = w.Why
		}
	}
	return err
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
