package torture

import (
	"context"
	"database/sql"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

// restores puts both databases back to what they were when it was called, and notes what
// that undoes.
func (r *endedRun) restores(sides ...store.Side) (back func()) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	sequences := map[store.Side]int64{}
	for _, side := range sides {
		sequence, err := r.databaseOf(side).copyTables(ctx, side)
		if err != nil {
			r.t.Fatal(err)
		}
		sequences[side] = sequence
	}
	return func() {
		r.t.Helper()
		defer cancel()
		for _, side := range sides {
			if err := r.restoreSide(ctx, side, sequences[side]); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// pays has the consumers' accounts do what a transfer of 10 does, with its effect.
func (r *endedRun) pays(token string) {
	r.t.Helper()
	r.consumer(`UPDATE {consumer_account} SET balance = balance - 10 WHERE id = 'account-0000'`)
	r.consumer(`UPDATE {consumer_account} SET balance = balance + 10 WHERE id = 'account-0001'`)
	r.effect("transfer", token+"-0", 0, token, 0)
}

// stamped has an order's keeper take a state, and the order's state have a time stamp.
func (r *endedRun) stamped(order string, version int64, token string, stamp int64) {
	r.t.Helper()
	r.takes(order, version, token)
	r.consumer(`UPDATE {effect} SET time_stamp = ? WHERE token = ? AND ref = ?`, stamp, token, order)
}

// The journals of the run that a test of restores makes of a sound one.
var restoredJournals = []string{
	"a parcel d1", "a committed", "b committed", "r rolled-back", "u begun", "v unknown",
	"g parcel d2", "g begun", "h begun", "n begun",
}

func TestEachCheckJudgesWhatRestoresHaveLeft(t *testing.T) {
	// The run is sound. While the databases are copied, "g" and "h" commit; after the restore
	// "n" does, if at all. Nobody was told that they did.
	gone := func(r *endedRun) {
		r.transfer("g", 0)
		r.order(4, "g")
		r.order(5, "h")
		r.parcel("g", "d2")
		r.state("public-01", 3, "g")
		r.producer(`UPDATE {parcel} SET version = 2 WHERE id = 'g-parcel'`)
		r.consumer(`DELETE FROM {effect} WHERE token = 'g'`)
	}
	for _, x := range []struct {
		name     string
		producer bool // whose database is restored; else the consumers'
		before   func(r *endedRun)
		after    func(r *endedRun)
		want     []string // checks
		undone   int64
		notAgain int64
	}{
		{"nothing of what the producers have lost took effect", true, gone, nil, nil, 5, 0},
		{"all that the producers have lost took effect", true, func(r *endedRun) {
			gone(r)
			r.pays("g")
			r.holds(4, "g")
			r.holds(5, "h")
			r.takes("public-01", 3, "g")
			r.audits("public-01", 3, "g")
		}, nil, nil, 5, 0},
		{"it takes effect after the restore", true, gone, func(r *endedRun) {
			r.pays("g")
			r.holds(4, "g")
			r.audits("public-01", 3, "g")
		}, nil, 5, 0},
		{"a transfer that the producers have lost takes effect twice", true, gone, func(r *endedRun) {
			r.pays("g")
			r.pays("g")
		}, []string{"conservation", "doubled"}, 5, 0},
		{"a transfer that the producers have lost moves no money", true, gone, func(r *endedRun) {
			r.effect("transfer", "g-0", 0, "g", 0)
		}, []string{"conservation"}, 5, 0},
		{"a parcel that the producers have lost arrives as another one", true, gone, func(r *endedRun) {
			r.consumer(`INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who, due, digest)
				VALUES ('parcel', 'g-parcel', 2, 'g', 'm', 2, 8, 0, 1000000, 'test', 0, 'd3')`)
		}, []string{"altered"}, 5, 0},
		{"a message that the producers still have never takes effect", true, func(r *endedRun) {
			gone(r)
			r.consumer(`DELETE FROM {effect} WHERE kind = 'parcel' AND token = 'a'`)
		}, nil, []string{"lost", "unseen"}, 5, 0},
		{"a state after the restore takes the place of those that are lost", true, func(r *endedRun) {
			gone(r)
			r.holds(4, "g")
			r.holds(5, "h")
		}, func(r *endedRun) {
			r.order(4, "n")
			r.stamped("order-00", 4, "n", 200)
		}, nil, 5, 0},
		{"a state after the restore that is taken for an old one", true, func(r *endedRun) {
			gone(r)
			r.holds(4, "g")
			r.holds(5, "h")
		}, func(r *endedRun) {
			r.order(4, "n")
		}, []string{"lost"}, 5, 0},
		{"a state that is lost after one that was committed after the restore", true, gone, func(r *endedRun) {
			r.order(4, "n")
			r.stamped("order-00", 4, "n", 200)
			r.stamped("order-00", 5, "h", 300)
		}, []string{"lost", "sequence", "stale"}, 5, 0},
		{"time stamps that go back with the database", true, func(r *endedRun) {
			gone(r)
			r.holds(4, "g")
			r.holds(5, "h")
		}, func(r *endedRun) {
			r.order(4, "n")
			r.stamped("order-00", 4, "n", 104)
		}, []string{"sequence"}, 5, 0},
		{"a sequence that does not go back with the database", true, gone, func(r *endedRun) {
			r.order(4, "n")
			r.stamped("order-00", 4, "n", 200)
			r.consumer(`UPDATE {effect} SET sequence = 6 WHERE token = 'n'`)
		}, []string{"sequence"}, 5, 0},
		{"a version of an order that comes twice at the audit", true, func(r *endedRun) {
			gone(r)
			r.audits("public-01", 3, "g")
		}, func(r *endedRun) {
			r.state("public-01", 3, "n")
			r.stamped("public-01", 3, "n", 200)
			r.audits("public-01", 3, "n")
			r.consumer(`UPDATE {effect} SET time_stamp = 200 WHERE token = 'n'`)
		}, nil, 5, 0},
		{"a version of an order that comes twice, and the audit has only the lost one", true, func(r *endedRun) {
			gone(r)
			r.audits("public-01", 3, "g")
		}, func(r *endedRun) {
			r.state("public-01", 3, "n")
			r.stamped("public-01", 3, "n", 200)
		}, []string{"lost"}, 5, 0},
		{"a commit that the database never had", true, gone, func(r *endedRun) {
			r.journals(append(restoredJournals, "n2 committed")...)
		}, []string{"unsaved"}, 5, 0},
		{"a rollback that the database has lost", true, gone, func(r *endedRun) {
			r.journals(append(restoredJournals, "h rolled-back")...)
		}, []string{"phantom"}, 5, 0},
		{"a transaction that the database has lost and nobody sent", true, gone, func(r *endedRun) {
			r.journals(restoredJournals[:len(restoredJournals)-2]...)
		}, []string{"phantom"}, 5, 0},
		{"nothing of what the consumers have lost comes again", false, func(r *endedRun) {
			r.transfer("n", 1)
			r.order(4, "n")
			r.holds(4, "n")
		}, nil, nil, 0, 2},
		{"all that the consumers have lost comes again", false, func(r *endedRun) {
			r.transfer("n", 1)
			r.order(4, "n")
			r.holds(4, "n")
		}, func(r *endedRun) {
			r.pays("n")
			r.holds(4, "n")
		}, nil, 0, 0},
		{"what the consumers have lost comes again twice", false, func(r *endedRun) {
			r.transfer("n", 1)
		}, func(r *endedRun) {
			r.pays("n")
			r.pays("n")
		}, []string{"conservation", "doubled"}, 0, 0},
		{"what had not taken effect before the restore never does", false, func(r *endedRun) {
			r.transfer("n", 0)
		}, nil, []string{"conservation", "lost"}, 0, 0},
		{"a state that an undone one had superseded is missing too", false, func(r *endedRun) {
			r.order(4, "g")
			r.order(5, "h")
			r.holds(5, "h")
		}, nil, nil, 0, 1},
		{"a state that is newer than the undone one is missing", false, func(r *endedRun) {
			r.order(4, "g")
			r.holds(4, "g")
			r.order(5, "h")
		}, nil, []string{"lost"}, 0, 0},
		{"an audited state whose effect is undone", false, func(r *endedRun) {
			r.state("public-01", 3, "h")
			r.takes("public-01", 3, "h")
			r.audits("public-01", 3, "h")
		}, func(r *endedRun) { r.takes("public-01", 3, "h") }, nil, 0, 1},
		{"a foreign message whose effect is undone", false, func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {must: true}}
			r.effect(foreignKind, "foreign-1", 0, "", 0)
		}, nil, nil, 0, 1},
		{"a foreign message that had no effect to undo", false, func(r *endedRun) {
			r.visits = map[string]visitor{"foreign-1": {must: true}}
		}, nil, []string{"lost"}, 0, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newEndedRun(t)
			r.sound()
			r.journals(restoredJournals...)
			side := store.Consumer
			if x.producer {
				side = store.Producer
			}
			back := r.restores(side)
			x.before(r)
			back()
			if x.after != nil {
				x.after(r)
			}
			v, err := r.check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(v.Broken)); !slices.Equal(got, x.want) {
				t.Errorf("got violations of %v, want of %v: %v", got, x.want, v.Violations)
			}
			if v.Undone != x.undone || v.NotAgain != x.notAgain {
				t.Errorf("got %d messages undone and %d effects that did not come again, want %d and %d", v.Undone, v.NotAgain, x.undone, x.notAgain)
			}
		})
	}
}

func TestARestorePutsADatabaseBackToItsCopy(t *testing.T) {
	for _, variable := range []string{"", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_MYSQL"} {
		t.Run(variable, func(t *testing.T) {
			r := newEndedRun(t)
			if variable != "" {
				r.moveTo(testserver.Address(t, variable))
			}
			insert := func(token string) {
				r.transfer(token, 1)
				r.producer(`INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('x', 'key', 'content')`)
			}
			state := func() map[string][]int64 {
				return map[string][]int64{
					"messages":  r.column(r.producerDB, `SELECT sequence FROM {qmessage} ORDER BY id`),
					"keys":      r.column(r.producerDB, `SELECT sequence FROM {qmessage_key}`),
					"transfers": r.column(r.producerDB, `SELECT count(*) FROM {transfer}`),
					"effects":   r.column(r.consumerDB, `SELECT count(*) FROM {effect}`),
					"balances":  r.column(r.consumerDB, `SELECT balance FROM {consumer_account} WHERE id = 'account-0000'`),
				}
			}
			const ids, numbers = `SELECT max(id) FROM {qmessage}`, `SELECT max(n) FROM {effect}`
			insert("a")
			insert("b")
			back := r.restores(store.Consumer, store.Producer)
			want := state()
			insert("c")
			lastID, lastEffect := r.column(r.producerDB, ids), r.column(r.consumerDB, numbers)
			insert("d")
			back()
			if got := state(); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want what there was before: %v", got, want)
			}
			if u := r.undone; !maps.Equal(u.messages.tokens, map[string]bool{"c": true, "d": true}) || len(u.effects) != 2 {
				t.Errorf("got the transactions %v and the effects %v that are undone, want those of c and d", u.messages.tokens, u.effects)
			}
			insert("e")
			if id, effect := r.column(r.producerDB, ids), r.column(r.consumerDB, numbers); !slices.Equal(id, lastID) || !slices.Equal(effect, lastEffect) {
				t.Errorf("got the row id %v and the effect %v, want those that come after the copy once more: %v and %v", id, effect, lastID, lastEffect)
			}
			if at := []place{r.undone.place(1, "a"), r.undone.place(1, "c"), r.undone.place(1, "e")}; !slices.Equal(at, []place{{0, 1}, {0, 1}, {1, 1}}) {
				t.Errorf("got the places %v, want e alone to come after the restore", at)
			}
		})
	}
}

// moveTo puts the run's tables into another database.
func (r *endedRun) moveTo(addr string) {
	r.t.Helper()
	r.prefix = "torture_test_"
	for _, x := range []struct {
		side store.Side
		d    **database
	}{{store.Producer, &r.producerDB}, {store.Consumer, &r.consumerDB}} {
		d, err := openDatabase(addr, r.prefix)
		if err != nil {
			r.t.Fatal(err)
		}
		*x.d = d
		r.t.Cleanup(func() {
			if err := d.drop(context.WithoutCancel(r.t.Context())); err != nil {
				r.t.Error(err)
			}
			_ = d.Close()
		})
		if x.side == store.Producer { // what an earlier test has left
			if err := d.drop(r.t.Context()); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := d.create(r.t.Context(), x.side, true); err != nil {
			r.t.Fatal(err)
		}
	}
}

// column returns what a query finds.
func (r *endedRun) column(d *database, query string) (all []int64) {
	r.t.Helper()
	err := d.each(r.t.Context(), query, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		all = append(all, n)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}
