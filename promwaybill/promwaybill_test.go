package promwaybill_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/promwaybill"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// world is a relay and an inbox on one database, neither of which runs.
type world struct {
	t      *testing.T
	db     *sql.DB
	out    *outbox.Outbox
	queue  *store.Queue
	keeper *store.Keeper
	relay  *relay.Relay
	inbox  *inbox.Inbox
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, db: db}
	b, silent := memory.New(nil), slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.out, err = outbox.New(sqlite.Dialect(), nil)
	must(err)
	w.queue, err = store.NewQueue(db, sqlite.Dialect(), "")
	must(err)
	w.keeper, err = store.NewKeeper(db, sqlite.Dialect(), "", "shipping")
	must(err)
	w.relay, err = relay.New(db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Logger: silent, MinResend: 24 * time.Hour})
	must(err)
	w.inbox, err = inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: silent})
	must(err)
	return w
}

// registry has the collectors of both sides. A row count is waited for.
func (w *world) registry(o promwaybill.Options) *prometheus.Registry {
	o.Timeout, o.CountEvery = time.Hour, time.Nanosecond
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(promwaybill.Relay(w.relay, w.queue, &o), promwaybill.Inbox(w.inbox, w.keeper, &o))
	return registry
}

func gather(t *testing.T, registry *prometheus.Registry) map[string][]*dto.Metric {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]*dto.Metric{}
	for _, f := range families {
		all[f.GetName()] = f.GetMetric()
	}
	return all
}

func TestSeriesAreThereAtZero(t *testing.T) {
	w := newWorld(t)
	registry := w.registry(promwaybill.Options{})
	all := gather(t, registry)
	for _, source := range []figure.Source{figure.NewRelay(w.relay, figure.NewRows(w.queue, 0), 0), figure.NewInbox(w.inbox, figure.NewKept(w.keeper, 0))} {
		for _, f := range source.Families() {
			found := all[f.Prometheus()]
			switch {
			case len(f.Labels) > 0 && f.Labels[0] == "destination":
				if len(found) > 0 {
					t.Errorf("%s is there without a destination", f.Prometheus())
				}
			case len(found) == 0:
				t.Errorf("%s is not there", f.Prometheus())
			case f.Kind == figure.Counter && found[0].GetCounter().GetValue() != 0,
				f.Kind == figure.Histogram && found[0].GetHistogram().GetSampleCount() != 0:
				t.Errorf("%s is %v, want it at zero", f.Prometheus(), found[0])
			}
		}
	}
	if n := len(all); n < 35 {
		t.Errorf("there are %d names", n)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// most is how many destinations have series of their own here.
const most = 50

// sendMany sends a message to each of so many destinations.
func (w *world) sendMany(many int) {
	w.t.Helper()
	messages := make([]waybill.Message, many)
	for i := range messages {
		messages[i].Destination = fmt.Sprintf("tenant-%05d", i)
	}
	if err := w.out.InTx(w.t.Context(), w.db, func(tx *sql.Tx) error { return w.out.Send(w.t.Context(), tx, messages...) }); err != nil {
		w.t.Fatal(err)
	}
}

// wantFolded checks that a family has a series for each of most destinations and one of all
// others, and what they add up to.
func wantFolded(t *testing.T, registry *prometheus.Registry, name string, total float64) {
	t.Helper()
	found := gather(t, registry)[name]
	sum, others := 0.0, 0
	for _, m := range found {
		sum += m.GetGauge().GetValue()
		for _, l := range m.GetLabel() {
			if l.GetName() == "destination" && l.GetValue() == figure.Others {
				others++
			}
		}
	}
	if len(found) != most+1 || others != 1 || sum != total {
		t.Errorf("%s: %d series with %d of all others add up to %v; want %d with one, and %v", name, len(found), others, sum, most+1, total)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestTenThousandDestinationsInTheTableAreFewSeries(t *testing.T) {
	w := newWorld(t)
	w.sendMany(10_000)
	registry := w.registry(promwaybill.Options{Names: most})
	wantFolded(t, registry, "waybill_outbox_messages", 10_000)
	if n, err := testutil.GatherAndCount(registry); err != nil || n > 2*(most+1)+100 {
		t.Errorf("there are %d series, error %v", n, err)
	}
}

func TestManyDestinationsOfARelayAreFewSeries(t *testing.T) {
	const many = 300
	w := newWorld(t)
	w.sendMany(many)
	registry := w.registry(promwaybill.Options{Names: most})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.relay.Run(ctx) }()
	patience.Until(t, "all are published", func() bool { return w.relay.Stats().Published >= many })
	wantFolded(t, registry, "waybill_destination_unconfirmed", many)
	wantFolded(t, registry, "waybill_outbox_messages", many)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
