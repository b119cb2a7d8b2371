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
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
)

// pollEvery is how often the databases are asked how far things are.
const pollEvery = 5 * time.Millisecond

// Variables of the environment.
const (
	seedVariable  = "WAYBILL_PROCESS_SEED"  // repeats a run's kills
	killsVariable = "WAYBILL_PROCESS_KILLS" // is their number
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
		t.Run(c.name, func(t *testing.T) { run(t, c.brokers, c.flags) })
	}
}

// scenario is one run: a producer, and the processes that are killed.
type scenario struct {
	t                          *testing.T
	producerAddr, consumerAddr string
	producerDB, consumerDB     *sql.DB
	name                       string // of this run, in names of queues
	supervisor                 *supervisor
	producer                   *producer
	effects, backlog           func() int64
}

const relays, consumers = 2, 2

func run(t *testing.T, brokers, flags []string) {
	seed := number(t, seedVariable, rand.Uint64())
	t.Logf("%s=%d", seedVariable, seed)
	s := setup(t, brokers, flags)
	stop := s.producer.start(t, seed)
	t.Cleanup(stop)
	for _, p := range s.supervisor.processes {
		s.supervisor.start(p)
	}
	began := time.Now()
	s.kill(plan(rand.New(rand.NewPCG(seed, 0)), int(number(t, killsVariable, 20)), relays, consumers))
	t.Logf("killed within %v: %s", time.Since(began).Round(time.Millisecond), s.supervisor.kills())
	stop()
	s.drain()
	s.supervisor.stop()
	check(t, s.producerDB, s.consumerDB)
	t.Logf("%d transactions committed, %d rolled back, %d messages, in %v", s.producer.committed.Load(), s.producer.rolledBack.Load(), s.producer.sent.Load(), time.Since(began).Round(time.Millisecond))
	for _, p := range s.supervisor.processes[relays:] {
		t.Logf("%s: %s", p.name, lastLines(p.log.String(), 1))
	}
}

// setup makes the databases, the producer and the processes, which it does not start.
func setup(t *testing.T, brokers, flags []string) *scenario {
	t.Helper()
	s := &scenario{t: t, name: strings.ToLower(crand.Text()[:8]), supervisor: &supervisor{t: t}}
	s.producerAddr, s.producerDB = database(t, store.Producer, producerTables)
	s.consumerAddr, s.consumerDB = database(t, store.Consumer, consumerTables)
	t.Cleanup(s.supervisor.cleanUp)
	payments, orders := "payments-"+s.name, "orders-"+s.name
	for i := range relays {
		s.addRelay(i, brokers[i%len(brokers)], flags)
	}
	for i := range consumers {
		s.supervisor.add(fmt.Sprint("consumer ", i+1), func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), role+"=consumer", "PAYMENTS="+payments, "ORDERS="+orders,
				"WAYBILL_DB="+s.consumerAddr, "WAYBILL_BROKER="+brokers[i%len(brokers)])
			return cmd
		})
	}
	s.effects = watch(t, s.consumerDB, `
		SELECT coalesce((SELECT max(n) FROM payment_effects), 0) + coalesce((SELECT max(n) FROM order_effects), 0)`)
	s.backlog = watch(t, s.producerDB, `SELECT count(*) FROM qmessage`)
	p, err := newProducer(s.producerDB, payments, orders, s.backlog)
	if err != nil {
		t.Fatal(err)
	}
	s.producer = p
	return s
}

func (s *scenario) addRelay(i int, broker string, flags []string) {
	s.t.Helper()
	stats := freeAddress(s.t)
	s.supervisor.add(fmt.Sprint("relay ", i+1), func() *exec.Cmd {
		cmd := exec.Command(program, append([]string{
			"relay", "--http", stats, "--producer", "shop-" + s.name, "--lease", "1s", "--poll", "50ms", "--min-resend", "200ms", "--max-resend", "1s",
		}, flags...)...)
		cmd.Env = append(os.Environ(), "WAYBILL_DB="+s.producerAddr, "WAYBILL_BROKER="+broker)
		return cmd
	}).stats = "http://" + stats + "/stats"
}

// kill kills as planned, and starts what it has killed again.
func (s *scenario) kill(kills []kill) {
	s.t.Helper()
	for i, k := range kills {
		before := s.effects()
		patience.Until(s.t, fmt.Sprintf("progress after kill %d", i), func() bool {
			return s.effects() > before+int64(k.effects) || s.t.Failed()
		}, s.progress)
		for _, victim := range k.victims {
			s.supervisor.kill(s.supervisor.processes[victim])
		}
		committed := s.producer.committed.Load()
		patience.Until(s.t, fmt.Sprintf("more messages before life %d", i+1), func() bool {
			return s.producer.committed.Load() >= committed+int64(k.commits) || s.backlog() > maxBacklog || s.t.Failed()
		}, s.progress)
		for _, victim := range k.victims {
			s.supervisor.start(s.supervisor.processes[victim])
		}
	}
}

// drain waits until the outbox is empty, now that nothing is killed any more.
func (s *scenario) drain() {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.supervisor.logStats()
		}
	}()
	patience.Until(s.t, "no row is left", func() bool {
		return countRows(s.t, s.producerDB, "qmessage WHERE status = 0") == 0
	}, s.progress)
}

// progress is how far the messages have come.
func (s *scenario) progress() any {
	return fmt.Sprintf("%d messages sent, %d effects, %d rows left", s.producer.sent.Load(), s.effects(), s.backlog())
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
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
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
