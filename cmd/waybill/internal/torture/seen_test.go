package torture

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

// unseen are the texts of a check's violations of that name.
func (r *endedRun) unseenTexts() (texts []string) {
	r.t.Helper()
	v, err := r.check(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range v.Violations {
		if x.check == "unseen" {
			texts = append(texts, x.text)
		}
	}
	if v.ok() != (len(texts) == 0) || v.Broken["unseen"] != int64(len(texts)) {
		r.t.Errorf("got the verdict %v and %v", v.ok(), v.Violations)
	}
	return texts
}

func TestARunInWhichAKindOfMessageIsMissingHasFailed(t *testing.T) {
	foreign := foreignProducer + ".1-0-0-errand"
	for _, x := range []struct {
		name  string
		spoil func(r *endedRun)
		want  []string
	}{
		{"nothing is missing", func(*endedRun) {}, nil},
		{"no transfer was committed", func(r *endedRun) {
			r.producer(`DELETE FROM {transfer}`)
			r.producer(`UPDATE {account} SET balance = ?`, openingBalance)
			r.consumer(`DELETE FROM {effect} WHERE kind = 'transfer'`)
			r.consumer(`UPDATE {consumer_account} SET balance = ?`, openingBalance)
		}, []string{"no transfer was committed"}},
		{"no parcel was committed", func(r *endedRun) {
			r.producer(`DELETE FROM {parcel}`)
			r.consumer(`DELETE FROM {effect} WHERE kind = 'parcel'`)
		}, []string{"no parcel was committed"}},
		{"notices are lost by a broker that was to lose them, all of them", func(r *endedRun) {
			r.chosen = selection{"messages": true}
			r.consumer(`DELETE FROM {effect} WHERE kind = 'notice'`)
		}, []string{"no notice took effect"}},
		{"the foreign producer's errands were rolled back", func(r *endedRun) {
			r.producer(`DELETE FROM {errand} WHERE id = ?`, foreign)
			r.consumer(`DELETE FROM {effect} WHERE ref = ?`, foreign)
			r.writes(foreignProducer, foreign+" rolled-back")
		}, []string{"no errand of the foreign producer was committed", "no errand for the foreign consumer was committed"}},
		{"Send has sent no errand", func(r *endedRun) {
			r.producer(`DELETE FROM {errand} WHERE id <> ?`, foreign)
			r.consumer(`DELETE FROM {effect} WHERE kind = 'errand' AND ref <> ?`, foreign)
		}, []string{"no errand that Send has sent was committed"}},
		{"no order was changed", func(r *endedRun) {
			r.producer(`DELETE FROM {order_state} WHERE id = 'order-00'`)
			r.consumer(`DELETE FROM {effect} WHERE ref = 'order-00'`)
			r.consumer(`UPDATE {consumer_order} SET version = 0, token = '' WHERE id = 'order-00'`)
			r.journals("a parcel d1", "a committed", "b committed", "u rolled-back")
		}, []string{"no state of an order was committed"}},
		{"no public order was changed", func(r *endedRun) {
			r.producer(`DELETE FROM {order_state} WHERE id = 'public-01'`)
			r.consumer(`DELETE FROM {effect} WHERE ref LIKE 'public-01%'`)
			r.consumer(`UPDATE {consumer_order} SET version = 0, token = '' WHERE id = 'public-01'`)
		}, []string{"no state of a public order, for the mirror, was committed", "no state of a public order, for the audit, was committed"}},
		{"no public order was changed, and there is no topic", func(r *endedRun) {
			r.named = false
			r.producer(`DELETE FROM {order_state} WHERE id = 'public-01'`)
			r.consumer(`DELETE FROM {effect} WHERE ref LIKE 'public-01%'`)
			r.consumer(`UPDATE {consumer_order} SET version = 0, token = '' WHERE id = 'public-01'`)
		}, nil},
		{"the audit's effects were undone by a restore, all of them", func(r *endedRun) {
			back := r.restores(store.Consumer)
			r.consumer(`DELETE FROM {copy_effect} WHERE kind = 'audit'`)
			back()
		}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newEndedRun(t)
			r.sound()
			x.spoil(r)
			if got := r.unseenTexts(); !slices.Equal(got, x.want) {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
}

func TestARunInWhichNothingWasSentHasFailed(t *testing.T) {
	r := newEndedRun(t)
	r.journals("a rolled-back", "b rolled-back")
	if got := r.unseenTexts(); len(got) != len(r.expects()) || len(got) < 9 {
		t.Errorf("got %q, want all kinds", got)
	}
}

func TestProducersGoOnUntilThereWasSomeOfEachKind(t *testing.T) {
	begin := func(t *testing.T, r *endedRun) (ended chan error) {
		ended = make(chan error, 1)
		go func() { ended <- r.seeAll(t.Context()) }()
		return ended
	}
	t.Run("it comes at last", func(t *testing.T) {
		r := newEndedRun(t)
		r.o.Patience = time.Hour
		ended := begin(t, r)
		r.sound()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("it is for a consumer that is away", func(t *testing.T) {
		r := newEndedRun(t)
		r.o.Patience = time.Hour
		r.sound()
		r.consumer(`DELETE FROM {effect} WHERE kind = 'audit'`)
		r.absent = &absence{who: &process{Name: auditGroup}, other: mirrorGroup}
		if err := <-begin(t, r); err != nil {
			t.Error(err)
		}
	})
	t.Run("it does not come", func(t *testing.T) {
		r := newEndedRun(t)
		r.o.Patience = time.Millisecond
		r.sound()
		r.producer(`DELETE FROM {notice}`)
		if err := <-begin(t, r); err != nil || len(r.events) == 0 || !strings.Contains(r.events[0].text, "no notice") {
			t.Errorf("got %v, and the events %v", err, r.events)
		}
	})
	t.Run("the run is interrupted", func(t *testing.T) {
		r := newEndedRun(t)
		r.o.Patience = time.Hour
		ctx, cancel := context.WithCancel(patience.Context(t))
		cancel()
		if err := r.seeAll(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestEachCheckIsInTheReportUnderItsName(t *testing.T) {
	r := newEndedRun(t)
	r.rogue = &process{}
	found := &result{Broken: map[string]int64{}}
	for i, c := range checks {
		found.Broken[c.name] = int64(i + 1)
	}
	report, err := r.report(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r.out = &out
	r.printChecks(report)
	broken, _ := fields["broken"].(map[string]any)
	for i, c := range checks {
		want := float64(i + 1)
		if fields[c.name] != want || broken[c.name] != want {
			t.Errorf("%s: got %v, and %v among what is broken, want %v", c.name, fields[c.name], broken[c.name], want)
		}
		if !strings.Contains(out.String(), " "+c.name+" ") {
			t.Errorf("a person is not told of %s:\n%s", c.name, out.String())
		}
	}
	if fields["ok"] != false {
		t.Errorf("got the verdict %v", fields["ok"])
	}
}
