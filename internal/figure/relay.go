package figure

import (
	"context"
	"time"

	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// The labels.
var (
	ofDestination = []string{"destination", "type"}
	ofConsumer    = []string{"destination", "type", "consumer"}
	ofRows        = []string{"destination", "type", "status"}
)

func relayGauge(name, help string, value func(*relay.Stats) float64) single[relay.Stats] {
	return single[relay.Stats]{Family{Name: "relay." + name, Help: help}, value}
}

func relayCounter(name, help string, value func(*relay.Stats) int64) single[relay.Stats] {
	return single[relay.Stats]{Family{Name: "relay." + name, Help: help, Kind: Counter}, func(s *relay.Stats) float64 { return float64(value(s)) }}
}

var relayFamilies = []single[relay.Stats]{
	relayGauge("leading", "Whether this relay leads the outbox.", func(s *relay.Stats) float64 { return flag(s.Leading) }),
	relayGauge("connected", "Whether it has a connection to the broker.", func(s *relay.Stats) float64 { return flag(s.Connected) }),
	relayGauge("cursor", "Rows up to this id have been read.", func(s *relay.Stats) float64 { return float64(s.Cursor) }),
	relayCounter("published", "Copies handed to the broker, first ones included.", func(s *relay.Stats) int64 { return s.Published }),
	relayCounter("copies", "Copies beyond the first of their messages.", func(s *relay.Stats) int64 { return s.Copies }),
	relayCounter("confirmed", "Rows deleted because their messages were confirmed.", func(s *relay.Stats) int64 { return s.Confirmed }),
	relayCounter("rejected", "Rows kept for a person.", func(s *relay.Stats) int64 { return s.Rejected }),
	relayCounter("retries", "Receipts that asked for a retry.", func(s *relay.Stats) int64 { return s.Retries }),
	relayCounter("receipts", "Receipts received.", func(s *relay.Stats) int64 { return s.Receipts }),
	relayCounter("malformed_receipts", "Receipts dropped because they make no sense.", func(s *relay.Stats) int64 { return s.Malformed }),
	relayCounter("unknown_receipts", "Receipts dropped because nobody waits for them.", func(s *relay.Stats) int64 { return s.Unknown }),
	relayCounter("strange_receipts", "Confirmations of rows that are not there and of which none was to be expected.", func(s *relay.Stats) int64 { return s.Strange }),
	relayCounter("twins", "Hellos of another relay with this outbox's identity: its database is a copy.", func(s *relay.Stats) int64 { return s.Twins }),
	relayCounter("disconnects", "Broker connections that were lost or could not be made.", func(s *relay.Stats) int64 { return s.Disconnects }),
	relayCounter("swept", "Rows that only the sweep found.", func(s *relay.Stats) int64 { return s.Swept }),
}

// Confirmation is the histogram that a relay keeps of all its messages.
var Confirmation = Family{
	Name: "relay.confirmation", Kind: Histogram, Unit: Seconds,
	Help: "Time from when a message was sent, or due, to when its consumers had confirmed it.",
}

func destinationGauge(name, unit, help string, join func(a, b float64) float64, value func(*relay.DestinationStats) float64) labelled[relay.DestinationStats] {
	f := Family{Name: "destination." + name, Help: help, Unit: unit, Labels: ofDestination}
	return labelled[relay.DestinationStats]{single[relay.DestinationStats]{f, value}, join}
}

var destinationFamilies = []labelled[relay.DestinationStats]{
	destinationGauge("unconfirmed", "", "Messages sent and not confirmed.", sum, func(d *relay.DestinationStats) float64 { return float64(d.Unconfirmed) }),
	destinationGauge("window", "", "Most messages that may be sent and not confirmed.", sum, func(d *relay.DestinationStats) float64 { return float64(d.Window) }),
	destinationGauge("backlog", "", "Whether more messages wait in the table for room in the window.", greater, func(d *relay.DestinationStats) float64 { return flag(d.Backlog) }),
	destinationGauge("timeout", Seconds, "Time after which a message without a receipt is suspect.", greater, func(d *relay.DestinationStats) float64 { return d.Timeout.Seconds() }),
	destinationGauge("paused", "", "Whether nothing is sent, because somebody or a breaker has paused it.", greater, func(d *relay.DestinationStats) float64 { return flag(d.Paused) }),
	destinationGauge("confirmation_p50", Seconds, "Time within which half of the messages were confirmed since they were sent, or due.", greater, func(d *relay.DestinationStats) float64 { return d.Latency.Quantile(0.5).Seconds() }),
	destinationGauge("confirmation_p99", Seconds, "The same of 99 in 100.", greater, func(d *relay.DestinationStats) float64 { return d.Latency.Quantile(0.99).Seconds() }),
	destinationGauge("silent", "", "Whether nothing is confirmed although something should be.", greater, func(d *relay.DestinationStats) float64 { return flag(d.Silent) }),
}

func greater(a, b float64) float64 { return max(a, b) }

var consumerFamilies = []labelled[relay.ConsumerStats]{
	{single[relay.ConsumerStats]{
		Family{Name: "consumer.waiting", Help: "Messages that others have confirmed and this named consumer has not, without those that wait in the table.", Labels: ofConsumer},
		func(c *relay.ConsumerStats) float64 { return float64(c.Waiting) },
	}, sum},
	{single[relay.ConsumerStats]{
		Family{Name: "consumer.lag", Help: "Time since the oldest of these was sent, when it began to lag.", Unit: Seconds, Labels: ofConsumer},
		func(c *relay.ConsumerStats) float64 { return c.Lag.Seconds() },
	}, greater},
}

var (
	outboxUp       = Family{Name: "outbox.up", Help: "Whether the outbox's rows could be counted the last time."}
	outboxCountAge = Family{Name: "outbox.count_age", Help: "Time since the outbox's rows were counted, in the background.", Unit: Seconds}
)

// counted is a line of a count.
type counted struct {
	*store.Count
	of *RowCount
}

var rowFamilies = []labelled[counted]{
	{single[counted]{
		Family{Name: "outbox.messages", Help: "Rows of the outbox by status.", Labels: ofRows},
		func(c *counted) float64 { return float64(c.Rows) },
	}, sum},
	{single[counted]{
		Family{Name: "outbox.oldest_age", Help: "Age of the oldest row; below 0 where it is due later.", Unit: Seconds, Labels: ofRows},
		func(c *counted) float64 { return c.of.Age(c.Count).Seconds() },
	}, greater},
}

// Relay are the figures of a relay and of its outbox's rows.
type Relay struct {
	relay                   *relay.Relay
	rows                    *Rows
	destinations, consumers *names
}

// NewRelay reads from a relay, and from the count of its outbox's rows. Of names of
// destinations and of consumers, so many have figures of their own; 0 for DefaultNames.
func NewRelay(r *relay.Relay, rows *Rows, most int) *Relay {
	return &Relay{r, rows, newNames(most), newNames(most)}
}

// Families implements Source.
func (*Relay) Families() (all []*Family) {
	for i := range relayFamilies {
		all = append(all, &relayFamilies[i].Family)
	}
	all = append(all, &Confirmation)
	for i := range destinationFamilies {
		all = append(all, &destinationFamilies[i].Family)
	}
	for i := range consumerFamilies {
		all = append(all, &consumerFamilies[i].Family)
	}
	all = append(all, &outboxUp, &outboxCountAge)
	for i := range rowFamilies {
		all = append(all, &rowFamilies[i].Family)
	}
	return all
}

// Read implements Source.
func (r *Relay) Read(ctx context.Context) []Figure {
	s := r.relay.Stats()
	var c collected
	for i := range relayFamilies {
		f := &relayFamilies[i]
		c.all = append(c.all, Figure{Family: &f.Family, Value: f.value(&s)})
	}
	c.all = append(c.all, Figure{Family: &Confirmation, Latency: &s.Latency})
	for i := range s.Destinations {
		d := &s.Destinations[i]
		name, kind := r.destinations.label(d.Destination), kind(d.Topic)
		addEach(&c, destinationFamilies, d, name, kind)
		for k := range d.Lagging {
			addEach(&c, consumerFamilies, &d.Lagging[k], name, kind, r.consumers.label(d.Lagging[k].Consumer))
		}
	}
	last, ok := r.rows.Read(ctx)
	c.all = append(c.all, Figure{Family: &outboxUp, Value: flag(ok && !last.Failed)})
	if !ok {
		return c.all
	}
	c.all = append(c.all, Figure{Family: &outboxCountAge, Value: time.Since(last.At).Seconds()})
	for i := range last.Rows {
		row := &last.Rows[i]
		addEach(&c, rowFamilies, &counted{row, &last}, r.destinations.label(row.Destination), kind(row.Topic), StatusName(row.Status))
	}
	return c.all
}

// StatusName is a row's status in a word.
func StatusName(status int) string {
	if status == store.Rejected {
		return "rejected"
	}
	return "pending"
}
