package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// version1 is the dialect of a program of version 1, as far as it makes tables.
type version1 struct{ store.Dialect }

func (d version1) Migrations(n store.Names) []store.Migration {
	return slices.DeleteFunc(d.Dialect.Migrations(n), func(m store.Migration) bool { return m.Version > 1 })
}

// counting counts the inserts of each kind.
type counting struct {
	store.Dialect
	plain, fast *int
}

func (d counting) Insert(n store.Names, rows []store.NewRow) []store.Statement {
	*d.fast++
	return d.Dialect.Insert(n, rows)
}

func (d counting) InsertPlain(n store.Names, rows []store.NewRow) []store.Statement {
	*d.plain++
	return d.Dialect.InsertPlain(n, rows)
}

func TestSendServesTablesOfAnOlderVersionUntilTheyAreUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := must(sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "older.db")+"?_txlock=immediate"))
		defer db.Close()
		db.SetMaxOpenConns(1)
		if err := store.Migrate(t.Context(), db, version1{sqlite.Dialect()}, "", store.Producer); err != nil {
			t.Fatal(err)
		}
		var plain, fast int
		out := must(outbox.New(counting{sqlite.Dialect(), &plain, &fast}, nil))
		send := func() error {
			return out.InTx(t.Context(), db, func(tx *sql.Tx) error {
				return out.Send(context.Background(), tx, waybill.Message{Destination: "orders", Key: "k"}, waybill.Message{Destination: "orders", Key: "k"})
			})
		}
		want := func(step string, wantPlain, wantFast int) {
			t.Helper()
			if err := send(); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			if plain != wantPlain || fast != wantFast {
				t.Errorf("%s: got %d plain inserts and %d others, want %d and %d", step, plain, fast, wantPlain, wantFast)
			}
		}
		want("tables of version 1", 1, 0)
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
			t.Fatal(err)
		}
		want("upgraded a moment ago", 2, 0)
		time.Sleep(time.Minute)
		want("a minute later", 2, 1)
		want("from then on", 2, 2)
		var sequences string
		must(0, db.QueryRow(`SELECT group_concat(sequence, ' ') FROM (SELECT sequence FROM qmessage ORDER BY id)`).Scan(&sequences))
		if sequences != "1 2 3 4 5 6 7 8" {
			t.Errorf("got the sequences %s, want them without gaps", sequences)
		}
	})
}

func TestTheFirstSendFindsOutThatTheTablesHaveThisVersion(t *testing.T) {
	for _, prefix := range []string{"", "app_"} {
		t.Run(fmt.Sprintf("prefix %q", prefix), func(t *testing.T) {
			db := open(t)
			if err := store.Migrate(t.Context(), db, sqlite.Dialect(), prefix, store.Producer); err != nil {
				t.Fatal(err)
			}
			var plain, fast int
			out := must(outbox.New(counting{sqlite.Dialect(), &plain, &fast}, &outbox.Options{TablePrefix: prefix}))
			for range 3 {
				err := out.InTx(t.Context(), db, func(tx *sql.Tx) error {
					return out.Send(t.Context(), tx, waybill.Message{Destination: "orders", Key: "k"})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if plain != 0 || fast != 3 {
				t.Errorf("got %d plain inserts and %d others, want 0 and 3", plain, fast)
			}
		})
	}
}
