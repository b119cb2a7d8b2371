package torture

import (
	"fmt"
	"slices"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

func TestNothingStaysOfATransactionThatAHandlerHasEnded(t *testing.T) {
	for _, variable := range []string{"", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_MYSQL"} {
		t.Run(variable, func(t *testing.T) {
			r := newEndedRun(t)
			if variable != "" {
				r.moveTo(testserver.Address(t, variable))
			}
			d := r.consumerDB
			c := &consumer{cmd: command{Name: "test"}, db: d}
			beginner := store.NewBeginner(d.dialect)
			ended := 0
			for i := range c.waysToEnd(t.Context(), nil) {
				r.consumer(`DELETE FROM {effect}`)
				tx, err := beginner.Begin(t.Context(), d.DB, nil)
				if err != nil {
					t.Fatal(err)
				}
				write := func(kind string) error {
					return c.effect(t.Context(), tx.SQL(), &waybill.Message{}, kind, "x", &payload{})
				}
				if err := write(transferKind); err != nil {
					t.Fatal(err)
				}
				has := c.waysToEnd(t.Context(), tx.SQL())[i]()
				want := []int64{1}
				if has {
					ended++
					_ = write(behindKind)
					want = []int64{0}
				}
				if err := tx.Commit(t.Context()); (err != nil) != has {
					t.Errorf("way %d: got %v from its owner's commit, and the way says that the transaction has ended: %v", i, err, has)
				}
				if got := r.column(d, `SELECT count(*) FROM {effect}`); !slices.Equal(got, want) {
					t.Errorf("way %d: got %d effects, want %d", i, got, want)
				}
			}
			if ended < 2 || variable == "" && ended < 5 {
				t.Errorf("got %d ways that ended the transaction", ended)
			}
		})
	}
}

func TestAnEffectOfNoMessagesKindIsAPhantom(t *testing.T) {
	for _, kind := range []string{behindKind, "", "another"} {
		t.Run(fmt.Sprintf("%q", kind), func(t *testing.T) {
			r := newEndedRun(t)
			r.sound()
			r.effect(kind, "a", 3, "a", 3)
			v, err := r.check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Broken) != 1 || v.Broken["phantom"] != 1 {
				t.Errorf("got %v, want a phantom: %v", v.Broken, v.Violations)
			}
			if _, err := r.history(t.Context(), v.Violations[0]); err != nil {
				t.Error(err)
			}
		})
	}
}
