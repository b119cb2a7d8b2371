package waybilltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
)

// openSQLite opens a database in a file of its own whose clock is Go's, which follows the
// bubble, in 'now' and CURRENT_TIMESTAMP. It never syncs, since nobody is to survive a power
// cut.
func openSQLite(dir string) *sql.DB {
	segments := url.URL{Path: filepath.ToSlash(filepath.Join(dir, "waybill.db"))}
	db := sql.OpenDB(connector("file:" + segments.EscapedPath() +
		"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=foreign_keys(on)"))
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return db
}

// connector opens a database by its name.
type connector string

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) { return bubbleDriver.Open(string(c)) }

// Driver implements driver.Connector.
func (connector) Driver() driver.Driver { return bubbleDriver }

// bubbleDriver is a driver of its own, so that its functions are those of no other
// database.
var bubbleDriver = newBubbleDriver()

// newBubbleDriver gives SQLite's functions of time, https://www.sqlite.org/lang_datefunc.html,
// another 'now'.
func newBubbleDriver() *sqlite.Driver {
	d := &sqlite.Driver{}
	own := &sqliteFunctions{}
	for _, name := range []string{"julianday", "unixepoch", "datetime", "date", "time", "strftime"} {
		d.MustRegisterScalarFunction(name, -1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			if name == "julianday" && len(args) == 1 && args[0] == "now" { // what Waybill asks for, all the time
				return julianDayOfEpoch + float64(time.Now().UnixMilli())/float64(dayLength.Milliseconds()), nil
			}
			return own.call(name, args)
		})
	}
	for name, function := range map[string]string{"current_timestamp": "datetime", "current_date": "date", "current_time": "time"} {
		d.MustRegisterScalarFunction(name, 0, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
			return own.call(function, nil)
		})
	}
	return d
}

const (
	julianDayOfEpoch = 2440587.5
	dayLength        = 24 * time.Hour
)

// sqliteFunctions are SQLite's own, asked with Go's time in the place of 'now'.
type sqliteFunctions struct {
	mu   sync.Mutex
	conn driver.QueryerContext
}

func (r *sqliteFunctions) call(name string, args []driver.Value) (driver.Value, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		conn, err := (&sqlite.Driver{}).Open(":memory:")
		if err != nil {
			return nil, err
		}
		r.conn = conn.(driver.QueryerContext)
	}
	at := 0 // where the time is
	if name == "strftime" {
		at = 1
	}
	now := time.Now().UTC().Format("2006-01-02 15:04:05.000")
	if len(args) == at {
		args = append(args, now)
	}
	named := make([]driver.NamedValue, len(args))
	for i, v := range args {
		if text, ok := v.(string); ok && i == at && strings.EqualFold(text, "now") {
			v = now
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	rows, err := r.conn.QueryContext(context.Background(), "SELECT "+name+"("+strings.TrimSuffix(strings.Repeat("?,", len(args)), ",")+")", named)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	result := make([]driver.Value, 1)
	if err := rows.Next(result); err != nil {
		return nil, err
	}
	return result[0], nil
}
