package admin

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// metrics serves the text format that Prometheus 0.0.4 and later reads:
// https://prometheus.io/docs/instrumenting/exposition_formats/
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	f := s.figures(ctx)
	var p page
	p.begin("waybill_build_info", "gauge", "The program's version; always 1.")
	p.value(1, "version", s.o.Version, "go_version", runtime.Version())

	p.one("waybill_relay_leading", "gauge", "Whether this relay leads the outbox.", flag(f.Relay.Leading))
	p.one("waybill_relay_connected", "gauge", "Whether it has a connection to the broker.", flag(f.Relay.Connected))
	p.one("waybill_relay_cursor", "gauge", "Rows up to this id have been read.", float64(f.Relay.Cursor))
	for _, c := range []struct {
		name, help string
		value      int64
	}{
		{"published", "Copies handed to the broker, first ones included.", f.Relay.Published},
		{"copies", "Copies beyond the first of their messages.", f.Relay.Copies},
		{"confirmed", "Rows deleted because their messages were confirmed.", f.Relay.Confirmed},
		{"rejected", "Rows kept for a person.", f.Relay.Rejected},
		{"retries", "Receipts that asked for a retry.", f.Relay.Retries},
		{"receipts", "Receipts received.", f.Relay.Receipts},
		{"malformed_receipts", "Receipts dropped because they make no sense.", f.Relay.Malformed},
		{"unknown_receipts", "Receipts dropped because nobody waits for them.", f.Relay.Unknown},
		{"disconnects", "Broker connections that were lost or not had.", f.Relay.Disconnects},
		{"swept", "Rows that only the sweep found.", f.Relay.Swept},
	} {
		p.one("waybill_relay_"+c.name+"_total", "counter", c.help, float64(c.value))
	}

	for _, g := range []struct {
		name, help string
		value      func(*destinationFigures) float64
	}{
		{"unconfirmed", "Messages sent and not confirmed.", func(d *destinationFigures) float64 { return float64(d.Unconfirmed) }},
		{"window", "Most messages that may be sent and not confirmed.", func(d *destinationFigures) float64 { return float64(d.Window) }},
		{"backlog", "Whether more messages wait in the table for room in the window.", func(d *destinationFigures) float64 { return flag(d.Backlog) }},
		{"timeout_seconds", "Time after which a message without a receipt is suspect.", func(d *destinationFigures) float64 { return d.Timeout }},
		{"silent", "Whether nothing is confirmed although something should be.", func(d *destinationFigures) float64 { return flag(d.Silent) }},
	} {
		p.begin("waybill_destination_"+g.name, "gauge", g.help)
		for i := range f.Destinations {
			d := &f.Destinations[i]
			p.value(g.value(d), "destination", d.Destination, "type", kind(d.Topic))
		}
	}

	p.one("waybill_outbox_up", "gauge", "Whether the outbox's rows could be counted.", flag(f.Outbox != nil))
	if f.Outbox != nil {
		p.begin("waybill_outbox_messages", "gauge", "Rows of the outbox by status.")
		for _, c := range f.Outbox.Rows {
			p.value(float64(c.Messages), "destination", c.Destination, "type", kind(c.Topic), "status", c.Status)
		}
		p.begin("waybill_outbox_oldest_age_seconds", "gauge", "Age of the oldest row; below 0 where it is due later.")
		for _, c := range f.Outbox.Rows {
			p.value(c.OldestAge, "destination", c.Destination, "type", kind(c.Topic), "status", c.Status)
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(p.b.String())) // who is gone needs no answer
}

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

// page is a page of metrics.
type page struct {
	b    strings.Builder
	name string
}

// begin begins a metric.
func (p *page) begin(name, kind, help string) {
	p.name = name
	fmt.Fprintf(&p.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// one is a metric of one value without labels.
func (p *page) one(name, kind, help string, value float64) {
	p.begin(name, kind, help)
	p.value(value)
}

// labelText escapes the value of a label.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// value is one value of the metric begun last; labels are names and values in turn.
func (p *page) value(value float64, labels ...string) {
	p.b.WriteString(p.name)
	start := "{"
	for pair := range slices.Chunk(labels, 2) {
		fmt.Fprintf(&p.b, `%s%s="%s"`, start, pair[0], labelText.Replace(pair[len(pair)-1]))
		start = ","
	}
	if len(labels) > 0 {
		p.b.WriteString("}")
	}
	p.b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}
