// Package figure has the figures by which relays and inboxes are watched: their names, what
// they mean, and how they are read. Every number is defined here, once; internal/figure/collector
// shows them to Prometheus' client, and otelwaybill to OpenTelemetry.
//
// The files: figure.go (what a figure is), relay.go and inbox.go (those of a relay and an inbox),
// rows.go and kept.go (rows that are counted in the background), label.go (label values are
// bounded), text.go (figures as text, where Prometheus' client is left out).
package figure

import (
	"context"
	"strings"

	"github.com/waybill-go/waybill/relay"
)

// Kind is how the values of a family are to be understood.
type Kind int

// The kinds.
const (
	Gauge     Kind = iota // goes up and down
	Counter               // grows, from 0 when the process began
	Histogram             // counts times by how long they are
)

// Seconds is the unit of families that are times.
const Seconds = "s"

// Family is all figures of a name.
type Family struct {
	Name   string // its words are separated by dots and "_": relay.malformed_receipts
	Help   string
	Kind   Kind
	Unit   string   // Seconds, or "" for a number
	Labels []string // the names of what tells its figures apart
}

// Prometheus is the family's name at Prometheus: waybill_relay_malformed_receipts_total.
func (f *Family) Prometheus() string {
	name := "waybill_" + strings.ReplaceAll(f.Name, ".", "_")
	if f.Unit == Seconds {
		name += "_seconds"
	}
	if f.Kind == Counter {
		name += "_total"
	}
	return name
}

// Figure is one value of a family.
type Figure struct {
	*Family
	Value   float64
	Latency *relay.Latency // in place of Value where it is a Histogram
	At      []string       // the values of its labels
}

// Source is what figures are read from. It is safe for concurrent use.
type Source interface {
	// Families are those of which Read may return figures.
	Families() []*Family
	// Read reads all figures. It waits for a database no longer than ctx allows, and leaves
	// out what it does not know then.
	Read(ctx context.Context) []Figure
}

// single is a family without labels, and where its value is found.
type single[S any] struct {
	Family
	value func(*S) float64
}

// labelled is a family with labels: how its value is found, and what becomes of values whose
// labels are the same because they are beyond the bound.
type labelled[S any] struct {
	single[S]
	join func(a, b float64) float64
}

func sum(a, b float64) float64 { return a + b }

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func kind(topic bool) string {
	if topic {
		return "topic"
	}
	return "queue"
}
