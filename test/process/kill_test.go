package process

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
)

// How long things may take, on a machine that is busy with other tests.
const (
	progressLimit = time.Minute     // between two strikes
	drainLimit    = 2 * time.Minute // until the outbox is empty
)

// seed is the variable that repeats a run's faults; WAYBILL_PROCESS_KILLS is their
// number.
const (
	seedVariable  = "WAYBILL_PROCESS_SEED"
	killsVariable = "WAYBILL_PROCESS_KILLS"
)

func TestNothingIsLostDoubledOrStaleWhenProcessesAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute for each protocol")
	}
	amqp1 := testserver.Address(t, "WAYBILL_TEST_ACTIVEMQ_AMQP1")
	stomp := testserver.Address(t, "WAYBILL_TEST_ACTIVEMQ_STOMP")
	build(t)
	for _, c := range []struct {
		name    string
		brokers []string // of the first and second relay, and of the first and second consumer
		flags   []string
	}{
		{"amqp1", []string{amqp1}, nil},
		{"stomp", []string{stomp}, nil},
		{"both, transient", []string{amqp1, stomp}, []string{"--transient", "*"}},
	} {
		t.Run(c.name, func(t *testing.T) { kill(t, c.brokers, c.flags) })
	}
}

func kill(t *testing.T, brokers, flags []string) {
	seed := number(t, seedVariable, rand.Uint64())
	t.Logf("%s=%d", seedVariable, seed)
	dice := rand.New(rand.NewPCG(seed, 0))

	producerAddr, producer := database(t, store.Producer, shopTables)
	consumerAddr, consumer := database(t, store.Consumer, depotTables)
	suffix := strings.ToLower(crand.Text()[:8])
	payments, orders := "payments-"+suffix, "orders-"+suffix

	f := &fleet{t: t}
	t.Cleanup(f.abandon)
	const relays, consumers = 2, 2
	for i := range relays {
		stats := freeAddress(t)
		f.add(fmt.Sprint("relay ", i+1), func() *exec.Cmd {
			cmd := exec.Command(program, append([]string{
				"relay", "--http", stats, "--producer", "shop-" + suffix, "--lease", "1s", "--poll", "50ms", "--min-resend", "200ms", "--max-resend", "1s",
			}, flags...)...)
			cmd.Env = append(os.Environ(), "WAYBILL_DB="+producerAddr, "WAYBILL_BROKER="+brokers[i%len(brokers)])
			return cmd
		}).stats = "http://" + stats + "/stats"
	}
	for i := range consumers {
		f.add(fmt.Sprint("consumer ", i+1), func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), role+"=consumer", "PAYMENTS="+payments, "ORDERS="+orders,
				"WAYBILL_DB="+consumerAddr, "WAYBILL_BROKER="+brokers[i%len(brokers)])
			return cmd
		})
	}

	effects := watch(t, consumer, `
		SELECT coalesce((SELECT max(n) FROM payment_effects), 0) + coalesce((SELECT max(n) FROM order_effects), 0)`)
	backlog := watch(t, producer, `SELECT count(*) FROM qmessage`)
	s, err := newShop(producer, payments, orders, backlog)
	if err != nil {
		t.Fatal(err)
	}
	closeShop := s.open(t, seed)
	t.Cleanup(closeShop)
	for _, ship := range f.ships {
		f.start(ship)
	}

	began := time.Now()
	for i, strike := range plan(dice, int(number(t, killsVariable, 20)), relays, consumers) {
		before := effects()
		if !until(progressLimit, func() bool { return effects() > before+int64(strike.effects) || t.Failed() }) {
			t.Fatalf("strike %d: no progress within %v: %d effects of %d messages", i, progressLimit, effects(), s.sent.Load())
		}
		for _, victim := range strike.victims {
			f.kill(f.ships[victim])
		}
		committed := s.committed.Load()
		until(progressLimit, func() bool {
			return s.committed.Load() >= committed+int64(strike.commits) || backlog() > maxBacklog || t.Failed()
		})
		for _, victim := range strike.victims {
			f.start(f.ships[victim])
		}
	}
	t.Logf("killed within %v: %s", time.Since(began).Round(time.Millisecond), f.kills())
	closeShop()

	// Nothing is killed any more: the outbox empties itself.
	var left int64
	empty := func() bool {
		left = countEffects(t, producer, "qmessage WHERE status = 0")
		return left == 0
	}
	if !until(drainLimit, empty) {
		t.Errorf("%d rows are left after %v", left, drainLimit)
		f.explain()
	}
	f.stop()
	judge(t, producer, consumer)
	t.Logf("%d transactions committed, %d rolled back, %d messages, in %v", s.committed.Load(), s.rolledBack.Load(), s.sent.Load(), time.Since(began).Round(time.Millisecond))
	for _, ship := range f.ships[relays:] {
		t.Logf("%s: %s", ship.name, lastLines(ship.log.String(), 1))
	}
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// database makes a database of its own with one side's tables and others.
func database(t *testing.T, side store.Side, tables string) (addr string, db *sql.DB) {
	t.Helper()
	server := testserver.Address(t, "WAYBILL_TEST_POSTGRES")
	admin := open(t, server)
	name := "waybill_process_" + strings.ToLower(crand.Text()[:10])
	if _, err := admin.Exec(`CREATE DATABASE ` + name); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop a database: %v", err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	addr = u.String()
	db = open(t, addr)
	if err := store.Migrate(t.Context(), db, postgres.Dialect(), "", side); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(tables); err != nil {
		t.Fatal(err)
	}
	return addr, db
}

func open(t *testing.T, addr string) *sql.DB {
	t.Helper()
	db, _, err := address.OpenDatabase(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// watch asks a database for a number again and again, and returns the last one.
func watch(t *testing.T, db *sql.DB, query string) (last func() int64) {
	var n atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var now int64
			err := db.QueryRowContext(ctx, query).Scan(&now)
			if err == nil {
				n.Store(now)
			} else if ctx.Err() == nil {
				t.Errorf("%s: %v", query, err)
				return
			}
			time.Sleep(pollEvery)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return n.Load
}

func number(t *testing.T, variable string, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
