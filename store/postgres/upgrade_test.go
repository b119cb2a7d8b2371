package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
)

// The lock is an autovacuum's, which PostgreSQL ends for those who wait long enough.
func TestAnUpgradeWaitsForAVacuumAndHoldsUpNobody(t *testing.T) {
	for _, c := range []struct {
		side                store.Side
		vacuumed, meanwhile string
	}{
		{store.Producer, "qmessage_key", `INSERT INTO qmessage (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`},
		{store.Consumer, "n1_record", `INSERT INTO n1_record (consumer, message_id, time_stamp, producer) VALUES ('c', gen_random_uuid(), 1, 'p')`},
	} {
		t.Run(c.vacuumed, func(t *testing.T) {
			db := open(t, pgx.QueryExecModeCacheStatement)
			dialecttest.MakeVersion1(t, db, postgres.Dialect())
			vacuum, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer vacuum.Rollback()
			if _, err := vacuum.Exec(`LOCK TABLE ` + c.vacuumed + ` IN SHARE UPDATE EXCLUSIVE MODE`); err != nil {
				t.Fatal(err)
			}
			upgraded := make(chan error, 1)
			go func() { upgraded <- store.Migrate(t.Context(), db, postgres.Dialect(), "", c.side) }()

			// Longer than what ends an autovacuum, in one wait.
			first := 0
			for waited := 0.0; waited < 1.2; {
				select {
				case err := <-upgraded:
					t.Fatalf("got an upgrade with error %v, want none while a vacuum has the table", err)
				case <-time.After(20 * time.Millisecond):
				}
				var pid int
				if err := db.QueryRow(`SELECT coalesce(max(l.pid), 0), coalesce(max(extract(epoch FROM clock_timestamp() - a.query_start)), 0)
					FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
					WHERE l.relation = $1::text::regclass AND NOT l.granted AND l.mode = 'ShareUpdateExclusiveLock'`, c.vacuumed).Scan(&pid, &waited); err != nil {
					t.Fatal(err)
				}
				if first == 0 {
					first = pid
				}
				if first != 0 && pid != first {
					t.Fatalf("the upgrade gave up its wait after less than 1.2 s: no vacuum is ended for that")
				}
				if _, err := db.Exec(c.meanwhile); err != nil {
					t.Fatal(err)
				}
			}
			if err := vacuum.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := <-upgraded; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnUpgradeGivesRightsOnItsTablesToWhoHadThemOnTheOthers(t *testing.T) {
	db := open(t, pgx.QueryExecModeCacheStatement)
	dialecttest.MakeVersion1(t, db, postgres.Dialect())
	user := as(t, db, nil, `GRANT SELECT, INSERT, UPDATE, DELETE ON qmessage, qmessage_key, qrelay, n1_record, n2_record, n_horizon, waybill_version TO USER`)
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, postgres.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	queue, err := store.NewQueue(user, postgres.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer queue.CloseIdle()
	ledger, err := store.NewLedger(user, postgres.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.CloseIdle()
	if _, err := queue.Identity(t.Context()); err != nil {
		t.Errorf("the outbox's identity: %v", err)
	}
	for name, check := range map[string]func() ([]store.Finding, error){
		"queue":  func() ([]store.Finding, error) { return queue.Check(t.Context()) },
		"ledger": func() ([]store.Finding, error) { return ledger.Check(t.Context(), waybill.Once, waybill.Latest) },
	} {
		found, err := check()
		if err != nil || store.Blocked(found) != nil {
			t.Errorf("%s: got the findings %+v, error %v, want nothing that blocks", name, found, err)
		}
	}
	for _, table := range []string{"qoutbox", "qconfirmed", "qpause", "n_rejected", "n_pause"} {
		for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			var has bool
			if err := user.QueryRow(`SELECT has_table_privilege($1, $2)`, table, right).Scan(&has); err != nil || !has {
				t.Errorf("%s on %s: got %v, error %v, want the right", right, table, has, err)
			}
		}
	}
	var others int
	if err := db.QueryRow(`SELECT count(*) FROM information_schema.role_table_grants
		WHERE table_schema = current_schema() AND table_name IN ('qoutbox', 'n_rejected') AND grantee = 'PUBLIC'`).Scan(&others); err != nil || others != 0 {
		t.Errorf("got %d rights of everybody, error %v, want none", others, err)
	}
}
