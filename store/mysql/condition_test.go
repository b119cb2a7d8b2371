package mysql_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/mysql"
)

func TestErrorsAreClassifiedByTheirNumber(t *testing.T) {
	for number, want := range map[uint16]store.Condition{
		1146: store.NoTable, 1049: store.NoTable, 1054: store.NoTable,
		1213: store.Conflict, 1205: store.Conflict, 1020: store.Conflict, 3572: store.Conflict, 1412: store.Conflict, 159: store.Conflict,
		1040: store.Unavailable, 1053: store.Unavailable, 1290: store.Unavailable, 1836: store.Unavailable, 1927: store.Unavailable, 1021: store.Unavailable, 1114: store.Unavailable,
		1062: store.Other, 1064: store.Other, 1406: store.Other, 1317: store.Other, 4025: store.Other, 3819: store.Other, 1045: store.Other,
	} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			dialecttest.WantCondition(t, mysql.Dialect(), &mysqldriver.MySQLError{Number: number, Message: "invalid connection"}, want)
		})
	}
}

func TestAFullDatabaseIsKnownByItsErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"a full disk", &mysqldriver.MySQLError{Number: 1021, Message: "Disk full (/tmp/#sql); waiting for someone to free some space..."}, true},
		{"a full disk, by the number of a file's error", &mysqldriver.MySQLError{Number: 20, Message: "Disk is full writing './a.ibd'"}, true},
		{"a full table", &mysqldriver.MySQLError{Number: 1114, Message: "The table 'effect' is full"}, true},
		{"a storage engine on a full disk", &mysqldriver.MySQLError{Number: 1030, Message: `Got error 28 "No space left on device" from storage engine InnoDB`}, true},
		{"another error of a storage engine", &mysqldriver.MySQLError{Number: 1030, Message: `Got error 168 "Unknown (generic) error from engine" from storage engine InnoDB`}, false},
		{"a file on a full disk", &mysqldriver.MySQLError{Number: 3, Message: `Error writing file './binlog' (Errcode: 28 "No space left on device")`}, true},
		{"a file on a full disk, as MySQL says it", &mysqldriver.MySQLError{Number: 3, Message: "Error writing file './binlog' (OS errno 28 - No space left on device)"}, true},
		{"a quota that is used up", &mysqldriver.MySQLError{Number: 1026, Message: `Error writing file 'a' (errno: 122 "Disk quota exceeded")`}, true},
		{"another error of a file", &mysqldriver.MySQLError{Number: 1026, Message: `Error writing file 'a28' (errno: 5 "Input/output error")`}, false},
		{"a text that says so", errors.New("error 28"), false},
		{"no error", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialecttest.WantFull(t, mysql.Dialect(), c.err, c.want)
		})
	}
}

func TestErrorsWithoutANumberAreClassifiedByWhatTheyAre(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want store.Condition
	}{
		{"a connection that the driver gave up", mysqldriver.ErrInvalidConn, store.Unavailable},
		{"the end within a message", io.ErrUnexpectedEOF, store.Unavailable},
		{"no error", nil, store.Other},
		{"any other error", errors.New("x"), store.Other},
		{"a statement that is too large", mysqldriver.ErrPktTooLarge, store.Other},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialecttest.WantCondition(t, mysql.Dialect(), c.err, c.want)
		})
	}
}

func TestAMigrationThatIsNotAllowedSaysWhatToDo(t *testing.T) {
	adviser, ok := mysql.Dialect().(store.Adviser)
	if !ok {
		t.Fatal("got a dialect that gives no advice")
	}
	for number, want := range map[uint16]string{1419: "log_bin_trust_function_creators", 1142: "TRIGGER", 1044: "CREATE"} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			if got := adviser.Advice(fmt.Errorf("migrate: %w", &mysqldriver.MySQLError{Number: number})); !strings.Contains(got, want) {
				t.Errorf("got the advice %q, want it to name %s", got, want)
			}
		})
	}
	t.Run("an unknown error", func(t *testing.T) {
		if got := adviser.Advice(errors.New("x")); got != "" {
			t.Errorf("got the advice %q, want none", got)
		}
	})
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
		t.Errorf("got error %v, want one that says what to do", err)
	}
}
