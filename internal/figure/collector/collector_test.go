package collector_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/internal/figure/collector"
	"github.com/waybill-go/waybill/relay"
)

// fixed is a source that tells the same again and again.
type fixed []figure.Figure

func (f fixed) Families() (all []*figure.Family) {
	for i := range f {
		all = append(all, f[i].Family)
	}
	return all
}

func (f fixed) Read(context.Context) []figure.Figure { return f }

func family(name string, kind figure.Kind, labels ...string) *figure.Family {
	return &figure.Family{Name: name, Kind: kind, Help: `What it is: \ and "so on".`, Labels: labels}
}

func TestTextWithoutTheClientIsTheClients(t *testing.T) {
	latency := &relay.Latency{Count: 7, Sum: 1234567 * time.Microsecond}
	for i, bound := range relay.LatencyBounds() {
		latency.Buckets = append(latency.Buckets, relay.LatencyBucket{UpTo: bound, Count: int64(min(i, 6))})
	}
	messages := family("outbox.messages", figure.Gauge, "status", "destination")
	source := fixed{
		{Family: family("relay.published", figure.Counter), Value: 123456789},
		{Family: &figure.Confirmation, Latency: latency},
		{Family: messages, Value: 12, At: []string{"rejected", "orders"}},
		{Family: messages, Value: 0, At: []string{"pending", "we\"ird\\\nname"}},
		{Family: messages, Value: -3.25, At: []string{"pending", "朗"}},
		{Family: &figure.Family{Name: "outbox.age", Help: "Time.", Unit: figure.Seconds}, Value: 1e-7},
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector.New(source, 0), collector.Build("v1"))
	families, err := registry.Gather()
	if err != nil || len(families) != 5 {
		t.Fatalf("%d families, error %v", len(families), err)
	}
	var want strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&want, f); err != nil {
			t.Fatal(err)
		}
	}
	got := string(figure.Text(append(source, figure.Build("v1"))))
	if got != want.String() {
		t.Errorf("got the text\n%s\nwant that of the client\n%s", got, want.String())
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}
