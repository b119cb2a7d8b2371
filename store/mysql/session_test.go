package mysql_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/mysql"
)

func with(params map[string]string) func(*mysqldriver.Config) {
	return func(c *mysqldriver.Config) { c.InterpolateParams, c.Params = true, params }
}

func migrate(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, mysql.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
}

func queue(t *testing.T, db *sql.DB) *store.Queue {
	t.Helper()
	q, err := store.NewQueue(db, mysql.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.CloseIdle)
	return q
}

// send sends a message without a key and a body in a transaction.
func send(t *testing.T, db *sql.DB) error {
	t.Helper()
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	err = store.Insert(t.Context(), tx, mysql.Dialect(), names, []store.NewRow{{ID: waybill.NewID(), Destination: "o", Body: []byte{}}})
	if err != nil {
		return err
	}
	return tx.Commit()
}

// guard records two messages of a producer without a name and returns the verdicts.
func guard(t *testing.T, db *sql.DB) []store.Verdict {
	t.Helper()
	l, err := store.NewLedger(db, mysql.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	verdicts, err := l.RecordOnce(t.Context(), tx, []store.Mark{{ID: waybill.NewID(), Destination: "o"}, {ID: waybill.NewID(), Destination: "o"}})
	if err != nil {
		t.Fatal(err)
	}
	return verdicts
}

func TestMessagesAreSentAndRecordedWhateverTheSessionSays(t *testing.T) {
	for _, params := range []map[string]string{
		{"sql_mode": "'EMPTY_STRING_IS_NULL,PAD_CHAR_TO_FULL_LENGTH,STRICT_TRANS_TABLES'"},
		{"sql_mode": "'ORACLE,SIMULTANEOUS_ASSIGNMENT,IGNORE_SPACE'"},
		{"sql_select_limit": "1", "sql_safe_updates": "1"},
		{"autocommit": "0", "tx_isolation": "'READ-UNCOMMITTED'"},
	} {
		t.Run(fmt.Sprint(params), func(t *testing.T) {
			if _, modes := params["sql_mode"]; modes && strings.HasPrefix(testserver.Version("WAYBILL_TEST_MYSQL"), "MySQL") {
				t.Skip("MySQL has no such modes")
			}
			db := open(t, with(params))
			migrate(t, db)
			if err := send(t, db); err != nil {
				t.Errorf("Send: %v", err)
			}
			if got := guard(t, db); len(got) != 2 || got[0] != store.Fresh || got[1] != store.Fresh {
				t.Errorf("two new messages: got the verdicts %v, want Fresh for both", got)
			}
			q := queue(t, db)
			rows, err := q.Scan(t.Context(), 0, 10, 0)
			if err != nil || len(rows) != 1 || rows[0].Sequence != 0 || rows[0].TimeStamp == 0 {
				t.Errorf("got rows %+v, error %v, want the message that was sent", rows, err)
			}
			if n, err := q.Delete(t.Context(), []waybill.ID{rows[0].MessageID}); n != 1 || err != nil {
				t.Errorf("Delete: got %d, error %v, want 1", n, err)
			}
			q.CloseIdle() // what was not committed is rolled back
			if rows, err := q.Scan(t.Context(), 0, 10, 0); len(rows) != 0 || err != nil {
				t.Errorf("after the deletion: got rows %v, error %v, want none", rows, err)
			}
		})
	}
}

func TestThePoolsOwnSessionsStayAsTheyAre(t *testing.T) {
	params := map[string]string{"tx_isolation": "'READ-UNCOMMITTED'", "sql_mode": "'ANSI,NO_BACKSLASH_ESCAPES'", "innodb_lock_wait_timeout": "7", "max_statement_time": "12.5", "sql_select_limit": "77"}
	for _, connections := range []int{1, 2, 0} {
		t.Run(fmt.Sprintf("of a pool of %d connections", connections), func(t *testing.T) {
			db := open(t, with(params))
			migrate(t, db)
			db.SetMaxOpenConns(connections)
			const settings = `SELECT CONCAT_WS(' ', @@autocommit, @@tx_isolation, @@tx_read_only, @@sql_mode, @@innodb_lock_wait_timeout, @@max_statement_time, @@sql_select_limit, @@sql_safe_updates)`
			read := func() (text string) {
				if err := db.QueryRow(settings).Scan(&text); err != nil {
					t.Fatal(err)
				}
				return text
			}
			before := read()
			q := queue(t, db)
			for range 3 {
				if _, err := q.Clock(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(); got != before {
				t.Errorf("a session of the pool is set to\n%s, want\n%s as before", got, before)
			}
			q.CloseIdle()
			if s := db.Stats(); s.InUse != 0 {
				t.Errorf("after CloseIdle %d connections are in use, want none", s.InUse)
			}
		})
	}
}

func TestATriggerWhoseAccountIsGoneIsFoundAndMended(t *testing.T) {
	db := open(t, interpolated)
	config := server(t)
	if err := db.QueryRow(`SELECT DATABASE()`).Scan(&config.DBName); err != nil {
		t.Fatal(err)
	}
	account := fmt.Sprintf(`'w%s'@'%%'`, config.DBName[len(config.DBName)-10:])
	config.User, config.Passwd = strings.Split(account, "'")[1], "pw"
	for _, text := range []string{`CREATE USER ` + account + ` IDENTIFIED BY 'pw'`, `GRANT ALL ON ` + config.DBName + `.* TO ` + account} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	migrator := connect(t, config)
	migrate(t, migrator)
	_ = migrator.Close()
	q := queue(t, db)
	if found, err := q.Check(t.Context()); err != nil || store.Blocked(found) != nil {
		t.Errorf("Check of good tables: got %v, error %v, want nothing that blocks", found, err)
	}
	if _, err := db.Exec(`DROP USER ` + account); err != nil {
		t.Fatal(err)
	}
	if err := send(t, db); err == nil || !strings.Contains(err.Error(), "waybill init") {
		t.Errorf("Send: got error %v, want one that says what to run", err)
	}
	found, err := q.Check(t.Context())
	if blocked := store.Blocked(found); err != nil || blocked == nil || !strings.Contains(blocked.Error(), "account that made Waybill's trigger is gone") {
		t.Errorf("Check: got %v, error %v, want that the account is gone", found, err)
	}
	migrate(t, db)
	if err := send(t, db); err != nil {
		t.Errorf("Send after another migration: %v", err)
	}
	if found, err := q.Check(t.Context()); err != nil || store.Blocked(found) != nil {
		t.Errorf("Check after another migration: got %v, error %v, want nothing that blocks", found, err)
	}
}

// Keys of version 1 have no type, which the trigger of version 2 would ask for.
func TestAMissingTriggerIsMendedAsOneOfItsTables(t *testing.T) {
	drop := func(t *testing.T, db *sql.DB) {
		t.Helper()
		if _, err := db.Exec(`DROP TRIGGER qmessage_fill`); err != nil {
			t.Fatal(err)
		}
	}
	triggers := func(t *testing.T, db *sql.DB) (n int) {
		t.Helper()
		if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const keyed = `INSERT INTO qmessage (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`

	t.Run("of version 1", func(t *testing.T) {
		db := open(t, interpolated)
		dialecttest.MakeVersion1(t, db, mysql.Dialect())
		drop(t, db)
		if err := store.EnsureTables(t.Context(), db, mysql.Dialect(), "", store.Producer); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(keyed); err != nil {
			t.Errorf("got error %v of a message with a key, want none", err)
		}
	})
	t.Run("of a version to come", func(t *testing.T) {
		db := open(t, interpolated)
		names := dialecttest.Migrate(t, db, mysql.Dialect(), "")
		drop(t, db)
		for _, s := range []store.Statement{
			mysql.Dialect().SetVersion(names, store.Producer, 3), mysql.Dialect().SetVersion(names, "producer.3", 2),
		} {
			if _, err := db.Exec(s.SQL); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Migrate(t.Context(), db, mysql.Dialect(), "", store.Producer); err != nil {
			t.Fatal(err)
		}
		if n := triggers(t, db); n != 0 {
			t.Errorf("got %d triggers, want none: what they do there is for newer programs to say", n)
		}
	})
}

func TestABinaryLogThatTakesNoTransactionsOfOursIsSaidInWords(t *testing.T) {
	err := &mysqldriver.MySQLError{Number: 1665, Message: "Cannot execute statement: impossible to write to binary log"}
	if got := mysql.Dialect().Explain(err); !strings.Contains(got, "SET GLOBAL binlog_format") {
		t.Errorf("got %q, want what to set", got)
	}
}
