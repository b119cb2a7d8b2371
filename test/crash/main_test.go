// Package crash kills a process at every point that package internal/fault/crash marks:
// before and after whatever outbox, relay and inbox ask of a database or a broker, around
// handlers, and between the statements of some calls of store. A journey has a producer, a
// relay and a consumer, each a process of its own (process/), two SQLite files and a NATS
// server in this process. Whoever dies is started again, another wave of messages follows
// each death, and in the end everything stops in good order and the databases are compared:
// nothing is lost, doubled, stale, phantom or left over.
//
// The points are read from the source, so none is forgotten; and a point that no
// journey passes is a failure.
//
// The files: main_test.go (the program, the databases), points_test.go (the points),
// steps_test.go (no step without points), crash_test.go (the tests), journey_test.go
// (one journey), process_test.go (one process), verdict_test.go (the comparison).
package crash

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

var (
	// program is the path of what all processes run, built for this run of the test.
	program string
	// templates is a directory with the databases as journeys begin with them.
	templates string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "waybill-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program, templates = filepath.Join(dir, "process"), dir
	return m.Run()
}

// The parts' own tables. The consumer's take every effect that comes.
const (
	shopTables = `
CREATE TABLE progress (wave integer, n integer, PRIMARY KEY (wave, n));
CREATE TABLE payments (id text PRIMARY KEY);
CREATE TABLE troubles (id text PRIMARY KEY);
CREATE TABLE news (id text PRIMARY KEY);
CREATE TABLE order_states (id text, version integer, token text NOT NULL, PRIMARY KEY (id, version));`
	depotTables = `
CREATE TABLE payment_effects (id text NOT NULL);
CREATE TABLE trouble_effects (id text NOT NULL);
CREATE TABLE wholes (id text PRIMARY KEY);
CREATE TABLE parts (whole text REFERENCES wholes DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE news_effects (id text NOT NULL);
CREATE TABLE order_effects (n integer PRIMARY KEY AUTOINCREMENT, id text NOT NULL, version integer NOT NULL, token text NOT NULL);`
)

// prepare builds the program and makes the templates, once.
var prepare = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-tags", "crashpoints", "-o", program, "./process").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the processes' program: %w\n%s", err, out)
	}
	var source string
	for _, x := range []struct {
		name   string
		side   store.Side
		tables string
	}{{"shop.db", store.Producer, shopTables}, {"depot.db", store.Consumer, depotTables}} {
		db, err := openFile(filepath.Join(templates, x.name))
		if err != nil {
			return err
		}
		defer db.Close()
		if err := store.Migrate(context.Background(), db, sqlite.Dialect(), "", x.side); err != nil {
			return err
		}
		if _, err := db.Exec(x.tables); err != nil {
			return err
		}
		if x.side == store.Producer {
			if source, err = sourceOf(db); err != nil {
				return err
			}
		} else if err := remember(db, source); err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	return nil
})

// sourceOf is the name under which a consumer remembers the outbox's messages.
func sourceOf(db *sql.DB) (string, error) {
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		return "", err
	}
	identity, err := queue.Identity(context.Background())
	return store.Source("shop", waybill.ReceiptQueue("shop", identity), false), err
}

// remember makes a record so old that it may be forgotten.
func remember(db *sql.DB, source string) error {
	ctx := context.Background()
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "depot")
	if err != nil {
		return err
	}
	tx, err := ledger.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	old := store.Mark{ID: waybill.NewIDAt(time.Now().Add(-48 * time.Hour)), Producer: source, Destination: "payments"}
	if _, err := ledger.RecordOnce(ctx, tx, []store.Mark{old}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func openFile(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)")
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// ports are tried in turn, from one of them on; the system gives none of these to
// whoever asks for any.
const (
	firstPort = 20_000
	portCount = 10_000
)

var port = func() *atomic.Int64 {
	p := &atomic.Int64{}
	p.Store(rand.Int64N(portCount))
	return p
}()

// freeAddress returns an address of this machine at which nobody listens. No two
// journeys get the same one.
func freeAddress() (at string, err error) {
	for range portCount {
		at = fmt.Sprintf("127.0.0.1:%d", firstPort+port.Add(1)%portCount)
		var l net.Listener
		if l, err = net.Listen("tcp", at); err == nil {
			return at, l.Close()
		}
	}
	return "", err
}
