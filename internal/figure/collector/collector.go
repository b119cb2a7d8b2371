// Package collector shows figures to Prometheus' client.
package collector

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-go/waybill/internal/figure"
)

// DefaultTimeout is how long one collection waits for the database where nothing else is said.
const DefaultTimeout = 5 * time.Second

// New makes a collector of a source's figures. One collection waits for the database no longer
// than timeout; 0 for DefaultTimeout.
func New(source figure.Source, timeout time.Duration) prometheus.Collector {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	c := &collector{source: source, timeout: timeout, families: map[*figure.Family]*prometheus.Desc{}}
	for _, f := range source.Families() {
		c.families[f] = prometheus.NewDesc(f.Prometheus(), f.Help, f.Labels, nil)
	}
	return c
}

type collector struct {
	source   figure.Source
	timeout  time.Duration
	families map[*figure.Family]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.families {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	for _, f := range c.source.Read(ctx) {
		m, err := metric(c.families[f.Family], &f)
		if err != nil {
			m = prometheus.NewInvalidMetric(c.families[f.Family], err)
		}
		to <- m
	}
}

func metric(d *prometheus.Desc, f *figure.Figure) (prometheus.Metric, error) {
	switch f.Kind {
	case figure.Histogram:
		buckets := make(map[float64]uint64, len(f.Latency.Buckets))
		for _, b := range f.Latency.Buckets {
			buckets[b.UpTo.Seconds()] = uint64(b.Count)
		}
		return prometheus.NewConstHistogram(d, uint64(f.Latency.Count), f.Latency.Sum.Seconds(), buckets, f.At...)
	case figure.Counter:
		return prometheus.NewConstMetric(d, prometheus.CounterValue, f.Value, f.At...)
	default:
		return prometheus.NewConstMetric(d, prometheus.GaugeValue, f.Value, f.At...)
	}
}

// build is a source of the figure that tells the program's version.
type build string

// Build makes a collector of waybill_build_info.
func Build(version string) prometheus.Collector { return New(build(version), 0) }

// Families implements figure.Source.
func (b build) Families() []*figure.Family { return []*figure.Family{figure.Build(string(b)).Family} }

// Read implements figure.Source.
func (b build) Read(context.Context) []figure.Figure { return []figure.Figure{figure.Build(string(b))} }
