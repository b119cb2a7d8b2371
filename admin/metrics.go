package admin

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-go/waybill/relay"
)

// metrics serves Prometheus' text format, version 0.0.4:
// https://prometheus.io/docs/instrumenting/exposition_formats/
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	all := s.collect(ctx)
	var p metricsPage
	p.build(s.o.Version)

	p.single("waybill_relay_leading", "gauge", "Whether this relay leads the outbox.", flag(all.Relay.Leading))
	p.single("waybill_relay_connected", "gauge", "Whether it has a connection to the broker.", flag(all.Relay.Connected))
	p.single("waybill_relay_cursor", "gauge", "Rows up to this id have been read.", float64(all.Relay.Cursor))
	p.counters("waybill_relay_", []counter{
		{"published", "Copies handed to the broker, first ones included.", all.Relay.Published},
		{"copies", "Copies beyond the first of their messages.", all.Relay.Copies},
		{"confirmed", "Rows deleted because their messages were confirmed.", all.Relay.Confirmed},
		{"rejected", "Rows kept for a person.", all.Relay.Rejected},
		{"retries", "Receipts that asked for a retry.", all.Relay.Retries},
		{"receipts", "Receipts received.", all.Relay.Receipts},
		{"malformed_receipts", "Receipts dropped because they make no sense.", all.Relay.Malformed},
		{"unknown_receipts", "Receipts dropped because nobody waits for them.", all.Relay.Unknown},
		{"strange_receipts", "Confirmations of rows that are not there and of which none was to be expected.", all.Relay.Strange},
		{"twins", "Hellos of another relay with this outbox's identity: its database is a copy.", all.Relay.Twins},
		{"disconnects", "Broker connections that were lost or could not be made.", all.Relay.Disconnects},
		{"swept", "Rows that only the sweep found.", all.Relay.Swept},
	})

	p.describe("waybill_relay_confirmation_seconds", "histogram", "Time from when a message was sent, or due, to when its consumers had confirmed it.")
	p.histogram(&all.Relay.latency)

	for _, g := range []struct {
		name, help string
		value      func(*destinationStats) float64
	}{
		{"unconfirmed", "Messages sent and not confirmed.", func(d *destinationStats) float64 { return float64(d.Unconfirmed) }},
		{"window", "Most messages that may be sent and not confirmed.", func(d *destinationStats) float64 { return float64(d.Window) }},
		{"backlog", "Whether more messages wait in the table for room in the window.", func(d *destinationStats) float64 { return flag(d.Backlog) }},
		{"timeout_seconds", "Time after which a message without a receipt is suspect.", func(d *destinationStats) float64 { return d.Timeout }},
		{"paused", "Whether nothing is sent, because somebody or a breaker has paused it.", func(d *destinationStats) float64 { return flag(d.Paused) }},
		{"confirmation_p50_seconds", "Time within which half of the messages were confirmed since they were sent, or due.", func(d *destinationStats) float64 { return d.LatencyP50 }},
		{"confirmation_p99_seconds", "The same of 99 in 100.", func(d *destinationStats) float64 { return d.LatencyP99 }},
		{"silent", "Whether nothing is confirmed although something should be.", func(d *destinationStats) float64 { return flag(d.Silent) }},
	} {
		p.describe("waybill_destination_"+g.name, "gauge", g.help)
		for i := range all.Destinations {
			d := &all.Destinations[i]
			p.sample(g.value(d), "destination", d.Destination, "type", kind(d.Topic))
		}
	}

	for _, g := range []struct {
		name, help string
		value      func(*consumerStats) float64
	}{
		{"waiting", "Messages that others have confirmed and this named consumer has not, without those that wait in the table.", func(c *consumerStats) float64 { return float64(c.Waiting) }},
		{"lag_seconds", "Time since the oldest of these was sent, when it began to lag.", func(c *consumerStats) float64 { return time.Since(c.Since).Seconds() }},
	} {
		p.describe("waybill_consumer_"+g.name, "gauge", g.help)
		for i := range all.Destinations {
			d := &all.Destinations[i]
			for k := range d.Lagging {
				p.sample(g.value(&d.Lagging[k]), "destination", d.Destination, "type", kind(d.Topic), "consumer", d.Lagging[k].Consumer)
			}
		}
	}

	p.single("waybill_outbox_up", "gauge", "Whether the outbox's rows could be counted the last time.", flag(all.Outbox != nil && !all.Outbox.Failing))
	if all.Outbox != nil {
		p.single("waybill_outbox_count_age_seconds", "gauge", "Time since the outbox's rows were counted, in the background.", time.Since(all.Outbox.CountedAt).Seconds())
		p.describe("waybill_outbox_messages", "gauge", "Rows of the outbox by status.")
		for _, c := range all.Outbox.Rows {
			p.sample(float64(c.Messages), "destination", c.Destination, "type", kind(c.Topic), "status", c.Status)
		}
		p.describe("waybill_outbox_oldest_age_seconds", "gauge", "Age of the oldest row; below 0 where it is due later.")
		for _, c := range all.Outbox.Rows {
			p.sample(c.OldestAge, "destination", c.Destination, "type", kind(c.Topic), "status", c.Status)
		}
	}
	p.serve(w)
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

// metricsPage is what /metrics answers.
type metricsPage struct {
	b    strings.Builder
	name string
}

// serve answers with the page.
func (p *metricsPage) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(p.b.String())) // a client that has gone needs no answer
}

// describe begins a metric, whose samples follow.
func (p *metricsPage) describe(name, kind, help string) {
	p.name = name
	fmt.Fprintf(&p.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// build tells which program this is.
func (p *metricsPage) build(version string) {
	p.describe("waybill_build_info", "gauge", "The program's version; always 1.")
	p.sample(1, "version", version, "go_version", runtime.Version())
}

// counter is a metric that counts.
type counter struct {
	name, help string
	value      int64
}

// counters are metrics whose names begin with a prefix and end with _total.
func (p *metricsPage) counters(prefix string, all []counter) {
	for _, c := range all {
		p.single(prefix+c.name+"_total", "counter", c.help, float64(c.value))
	}
}

// single is a metric with one sample, without labels.
func (p *metricsPage) single(name, kind, help string, value float64) {
	p.describe(name, kind, help)
	p.sample(value)
}

// histogram is the samples of the metric that was described last.
func (p *metricsPage) histogram(l *relay.Latency) {
	name := p.name
	p.name = name + "_bucket"
	for _, b := range l.Buckets {
		p.sample(float64(b.Count), "le", strconv.FormatFloat(b.UpTo.Seconds(), 'g', -1, 64))
	}
	p.sample(float64(l.Count), "le", "+Inf")
	p.name = name + "_sum"
	p.sample(l.Sum.Seconds())
	p.name = name + "_count"
	p.sample(float64(l.Count))
}

// labelText escapes the value of a label.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample is one value of the metric that was described last; labels are names and
// values in turn.
func (p *metricsPage) sample(value float64, labels ...string) {
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
