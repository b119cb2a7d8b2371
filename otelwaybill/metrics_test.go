package otelwaybill_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// scrape reads /metrics over HTTP.
func scrape(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: status %d, error %v", response.StatusCode, err)
	}
	return string(page)
}

// values are the samples of a page by their names and labels, as name{label="value",…}; of a
// histogram there is its count.
func values(t *testing.T, page string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v in the page\n%s", err, page)
	}
	all := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no HELP", name)
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			at := name
			if len(labels) > 0 {
				at += "{" + strings.Join(labels, ",") + "}"
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[at] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[at] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				all[at] = float64(m.GetHistogram().GetSampleCount())
				if n := len(m.GetHistogram().GetBucket()); n < 10 {
					t.Errorf("%s has %d buckets", at, n)
				}
			default:
				t.Errorf("%s is of the type %v", name, f.GetType())
			}
		}
	}
	return all
}

func TestAJourneyIsCounted(t *testing.T) {
	told := journey(t, false)
	for _, c := range []struct {
		side, page string
		want       map[string]float64
	}{
		{"relay", told.relay, map[string]float64{
			"waybill_relay_leading":                                                        1,
			"waybill_relay_connected":                                                      1,
			"waybill_relay_published_total":                                                3, // both, and the one that was retried again
			"waybill_relay_copies_total":                                                   1,
			"waybill_relay_receipts_total":                                                 3,
			"waybill_relay_retries_total":                                                  1,
			"waybill_relay_confirmed_total":                                                1,
			"waybill_relay_rejected_total":                                                 1,
			"waybill_relay_disconnects_total":                                              0,
			"waybill_relay_confirmation_seconds":                                           1,
			`waybill_destination_unconfirmed{destination="orders",type="queue"}`:           0,
			`waybill_destination_paused{destination="orders",type="queue"}`:                0,
			"waybill_outbox_up":                                                            1,
			`waybill_outbox_messages{destination="orders",status="rejected",type="queue"}`: 1,
		}},
		{"inbox", told.inbox, map[string]float64{
			"waybill_inbox_connected":                  1,
			"waybill_inbox_received_total":             3,
			"waybill_inbox_handled_total":              1,
			"waybill_inbox_retried_total":              1,
			"waybill_inbox_rejected_total":             1,
			"waybill_inbox_duplicates_total":           0,
			"waybill_inbox_receipts_total":             3,
			"waybill_inbox_receipts_lost_total":        0,
			"waybill_inbox_stuck":                      0,
			"waybill_kept_up":                          1,
			`waybill_kept_messages{status="rejected"}`: 0, // its producer has it
			`waybill_kept_messages{status="waiting"}`:  0,
		}},
	} {
		t.Run(c.side, func(t *testing.T) {
			problems, err := promlint.New(strings.NewReader(c.page)).Lint()
			if err != nil || len(problems) > 0 {
				t.Errorf("promlint: %v, %v", problems, err)
			}
			all := values(t, c.page)
			for name, want := range c.want {
				if got, ok := all[name]; !ok || got != want {
					t.Errorf("%s: got %v (there: %t), want %v", name, got, ok, want)
				}
			}
			if t.Failed() {
				t.Log(c.page)
			}
		})
	}
}

// measured is what was read of an instrument: attributes and value of each point.
func measured(all metricdata.ResourceMetrics, name string) string {
	var points []string
	add := func(at attribute.Set, value any) {
		points = append(points, fmt.Sprint(at.Encoded(attribute.DefaultEncoder()), " ", value))
	}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Count)
				}
			}
		}
	}
	slices.Sort(points)
	return strings.Join(points, "; ")
}

func TestAJourneyIsMeasuredByInstruments(t *testing.T) {
	all := journey(t, false).metrics
	const handled = "messaging.consumer.group.name=shipping,messaging.destination.name=orders,messaging.operation.name=process,messaging.operation.type=process,messaging.system=waybill"
	for name, want := range map[string]string{
		"messaging.process.duration":      "error.type=*waybill.PermanentError," + handled + " 1; error.type=*waybill.RetryError," + handled + " 1; " + handled + " 1",
		"waybill.relay.published":         " 3",
		"waybill.relay.retries":           " 1",
		"waybill.relay.disconnects":       " 0",
		"waybill.relay.confirmation":      " 1",
		"waybill.inbox.handled":           " 1",
		"waybill.inbox.rejected":          " 1",
		"waybill.inbox.stuck":             " 0",
		"waybill.destination.unconfirmed": "messaging.destination.name=orders,waybill.destination.type=queue 0",
		"waybill.outbox.messages":         "messaging.destination.name=orders,waybill.destination.type=queue,waybill.status=rejected 1",
	} {
		if got := measured(all, name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
