package mysql_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
)

func TestErrorsAreClassifiedByTheirNumber(t *testing.T) {
	for number, want := range map[uint16]store.Condition{
		1146: store.NoTable, 1049: store.NoTable, 1054: store.NoTable,
		1213: store.Conflict, 1205: store.Conflict, 1020: store.Conflict, 3572: store.Conflict,
		1040: store.Unavailable, 1053: store.Unavailable, 1290: store.Unavailable, 1836: store.Unavailable, 1927: store.Unavailable,
		1062: store.Other, 1064: store.Other, 1406: store.Other, 1317: store.Other, 4025: store.Other, 3819: store.Other, 1045: store.Other,
	} {
		err := error(&mysqldriver.MySQLError{Number: number, Message: "invalid connection"})
		for _, err := range []error{err, fmt.Errorf("wrapped: %w", err)} {
			if got := mysql.Dialect().Condition(err); got != want {
				t.Errorf("%v: condition %d, want %d", err, got, want)
			}
		}
	}
	for _, err := range []error{mysqldriver.ErrInvalidConn, io.ErrUnexpectedEOF, fmt.Errorf("wrapped: %w", mysqldriver.ErrInvalidConn)} {
		if got := mysql.Dialect().Condition(err); got != store.Unavailable {
			t.Errorf("%v: condition %d, want Unavailable", err, got)
		}
	}
	for _, err := range []error{nil, errors.New("x"), mysqldriver.ErrPktTooLarge} {
		if got := mysql.Dialect().Condition(err); got != store.Other {
			t.Errorf("%v: condition %d, want Other", err, got)
		}
	}
}

func TestAMigrationThatIsNotAllowedSaysWhatToDo(t *testing.T) {
	adviser, ok := mysql.Dialect().(store.Adviser)
	if !ok {
		t.Fatal("the dialect gives no advice")
	}
	for number, want := range map[uint16]string{1419: "log_bin_trust_function_creators", 1142: "TRIGGER", 1044: "CREATE"} {
		if got := adviser.Advice(fmt.Errorf("migrate: %w", &mysqldriver.MySQLError{Number: number})); !strings.Contains(got, want) {
			t.Errorf("advice on %d: %q, want it to name %s", number, got, want)
		}
	}
	if got := adviser.Advice(errors.New("x")); got != "" {
		t.Errorf("advice on an unknown error: %q", got)
	}
}

// A user without the right to make triggers sees the advice in Migrate's own error.
func TestMigrateWithoutTheRightToMakeTriggersSaysWhatToDo(t *testing.T) {
	db := open(t, func(*mysqldriver.Config) {})
	admin := connect(t, server(t))
	var database string
	if err := db.QueryRow(`SELECT DATABASE()`).Scan(&database); err != nil {
		t.Fatal(err)
	}
	// The names of users have at most 32 characters.
	user := "u" + database[len(database)-16:]
	for _, text := range []string{
		`CREATE USER '` + user + `'@'%' IDENTIFIED BY 'Pw-1-` + user + `'`,
		`GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON ` + database + `.* TO '` + user + `'@'%'`,
	} {
		if _, err := admin.Exec(text); err != nil {
			t.Skipf("the server's address names a user that cannot make others: %v", err)
		}
	}
	t.Cleanup(func() {
		if _, err := connect(t, server(t)).Exec(`DROP USER '` + user + `'@'%'`); err != nil {
			t.Error(err)
		}
	})
	config := server(t)
	config.User, config.Passwd, config.DBName = user, "Pw-1-"+user, database
	err := store.Migrate(t.Context(), connect(t, config), mysql.Dialect(), "", store.Producer)
	if err == nil || !strings.Contains(err.Error(), "TRIGGER") || !strings.Contains(err.Error(), "waybill init --print") {
		t.Errorf("error %v, want what to do", err)
	}
}
