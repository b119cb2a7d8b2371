// Package promwaybill has collectors for Prometheus' client: the figures of a relay and of an
// inbox, for the registry of a service that has one.
//
//	registry.MustRegister(promwaybill.Relay(r, queue, nil), promwaybill.Inbox(in, keeper, nil))
//
// Their names begin with waybill_, and are those that admin.Handler and admin.InboxHandler
// serve at /metrics, so the alert rules and the dashboard in the directory deploy work with
// either. All of them are there from the first moment on, at zero, except for those of single
// destinations, which begin with their first message. Where one registry has several relays or
// inboxes, tell them apart with labels:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"outbox": "shop"}, registry)
//
// Values of labels are bounded, see Options.Names. Ages are by the database's clock. Nothing that
// sends or handles messages imports this package, or Prometheus' client.
package promwaybill

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/internal/figure/collector"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// Options configure a collector; nil and the zero value hold the defaults.
type Options struct {
	// Timeout bounds how long one collection waits for the database. What it does not tell in
	// that time is left out. Default 5 s.
	Timeout time.Duration
	// CountEvery is the least time between two counts of rows, whose cost grows with their
	// number; after a slow count of the outbox's it is longer, so that counting takes at most a
	// twentieth of the time. Default 5 s.
	CountEvery time.Duration
	// Names is how many destinations, and how many named consumers, have series of their own:
	// those that are met first. What is beyond them is one series with the name "all others":
	// numbers are added, and of ages, times and flags it has the greatest. Default 500.
	Names int
}

// orDefault is o or, where that is nil, the zero value.
func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	return *o
}

// Relay is a collector of the figures of a relay and of queue, its outbox's tables.
func Relay(r *relay.Relay, queue *store.Queue, o *Options) prometheus.Collector {
	c := o.orDefault()
	return collector.New(figure.NewRelay(r, figure.NewRows(queue, c.CountEvery), c.Names), c.Timeout)
}

// Inbox is a collector of the figures of an inbox and of what its consumer keeps.
func Inbox(in *inbox.Inbox, keeper *store.Keeper, o *Options) prometheus.Collector {
	c := o.orDefault()
	return collector.New(figure.NewInbox(in, figure.NewKept(keeper, c.CountEvery)), c.Timeout)
}
