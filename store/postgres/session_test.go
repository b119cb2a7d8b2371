package postgres_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
)

// as opens db's schema as a user that has just been made, and the given rights on it.
func as(t *testing.T, db *sql.DB, params map[string]string, rights ...string) *sql.DB {
	t.Helper()
	var schema string
	if err := db.QueryRow(`SHOW search_path`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	user := "u" + schema
	for _, text := range append([]string{
		fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'pw'`, user), fmt.Sprintf(`GRANT USAGE ON SCHEMA %s TO %s`, schema, user),
	}, rights...) {
		if _, err := db.Exec(strings.ReplaceAll(text, "USER", user)); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	t.Cleanup(func() {
		for _, text := range []string{`DROP OWNED BY `, `DROP ROLE `} {
			if _, err := db.Exec(text + user); err != nil {
				t.Error(err)
			}
		}
	})
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password = user, "pw"
	config.RuntimeParams["search_path"] = schema
	for name, value := range params {
		config.RuntimeParams[name] = value
	}
	other := stdlib.OpenDB(*config)
	t.Cleanup(func() { other.Close() })
	return other
}

func TestACheckSaysInWordsWhatKeepsMessagesFromMoving(t *testing.T) {
	const all = `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA CURRENT TO USER`
	for _, c := range []struct {
		name   string
		params map[string]string
		rights []string
		blocks []string // words of what blocks
		notes  []string
	}{
		{name: "all rights", rights: []string{all}},
		{name: "no right to delete", rights: []string{all, `REVOKE DELETE ON qmessage FROM USER`}, blocks: []string{"delete confirmed messages", "GRANT"}},
		{name: "no right on the lease", rights: []string{all, `REVOKE INSERT, UPDATE ON qrelay FROM USER`}, blocks: []string{"take the relay's lease", "GRANT"}},
		{name: "no right on answers", rights: []string{all, `REVOKE DELETE ON qconfirmed FROM USER`}, notes: []string{"note who has confirmed", "GRANT"}},
		{name: "no right to read", rights: []string{all, `REVOKE SELECT ON qmessage FROM USER`}, blocks: []string{"sweep messages", "GRANT"}},
		{name: "rows are hidden", rights: []string{all, `ALTER TABLE qmessage ENABLE ROW LEVEL SECURITY`}, notes: []string{"row-level security", "qmessage"}},
		{name: "commits are not waited for", params: map[string]string{"synchronous_commit": "off"}, rights: []string{all}, notes: []string{"synchronous_commit is off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, pgx.QueryExecModeCacheStatement)
			for _, side := range []store.Side{store.Producer, store.Consumer} {
				if err := store.Migrate(t.Context(), db, postgres.Dialect(), "", side); err != nil {
					t.Fatal(err)
				}
			}
			var schema string
			if err := db.QueryRow(`SHOW search_path`).Scan(&schema); err != nil {
				t.Fatal(err)
			}
			rights := make([]string, len(c.rights))
			for i, text := range c.rights {
				rights[i] = strings.ReplaceAll(text, "SCHEMA CURRENT", "SCHEMA "+schema)
			}
			queue, err := store.NewQueue(as(t, db, c.params, rights...), postgres.Dialect(), "")
			if err != nil {
				t.Fatal(err)
			}
			found, err := queue.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var blocking, notes string
			for _, f := range found {
				if f.Blocks {
					blocking += f.Text
				} else {
					notes += f.Text
				}
			}
			want(t, "what blocks", blocking, c.blocks)
			want(t, "the remarks", notes, c.notes)
		})
	}
}

func want(t *testing.T, what, got string, words []string) {
	t.Helper()
	if len(words) == 0 && got != "" {
		t.Errorf("got %q as %s, want nothing", got, what)
	}
	for _, word := range words {
		if !strings.Contains(got, word) {
			t.Errorf("got %q as %s, want %q in it", got, what, word)
		}
	}
}

func TestALedgerSaysThatRecordsCannotBeWritten(t *testing.T) {
	db := open(t, pgx.QueryExecModeCacheStatement)
	if err := store.Migrate(t.Context(), db, postgres.Dialect(), "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	other := as(t, db, nil, `GRANT SELECT, INSERT, UPDATE ON n2_record, n_horizon TO USER`, `GRANT SELECT, INSERT, UPDATE, DELETE ON n_rejected TO USER`, `GRANT SELECT ON waybill_version TO USER`)
	ledger, err := store.NewLedger(other, postgres.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	found, err := ledger.Check(t.Context(), waybill.Latest)
	if err != nil || store.Blocked(found) != nil || len(found) != 1 || !strings.Contains(found[0].Text, "remove old records") {
		t.Errorf("Latest: got %v, error %v, want a remark that old records cannot be removed", found, err)
	}
	found, err = ledger.Check(t.Context(), waybill.Once)
	if err != nil || store.Blocked(found) == nil || !strings.Contains(store.Blocked(found).Error(), "write records") {
		t.Errorf("Once: got %v, error %v, want that records cannot be written", found, err)
	}
}

// preparing is a driver that prepares every statement, and so takes one at a time.
type preparing struct{ driver.Connector }

func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	return struct{ driver.Conn }{conn}, err
}

func TestATransactionWritesThroughADriverThatPreparesEverything(t *testing.T) {
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["default_transaction_read_only"] = "on"
	db := sql.OpenDB(preparing{stdlib.GetConnector(*config)})
	t.Cleanup(func() { _ = db.Close() })
	beginner := store.NewBeginner(postgres.Dialect())
	for range 2 {
		tx, err := beginner.Begin(t.Context(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), `CREATE TABLE `+dialecttest.DatabaseName()+` (n integer) `); err != nil {
			t.Errorf("the transaction does not write: %v", err)
		}
		var held int
		if err := tx.SQL().QueryRowContext(t.Context(), `SELECT count(*) FROM pg_cursors WHERE name = 'waybill_hold'`).Scan(&held); err != nil || held != 1 {
			t.Errorf("got %d cursors and error %v, want the transaction held by one", held, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}
