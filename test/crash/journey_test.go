package crash

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// plan is a journey and who dies where on it.
type plan struct {
	// rough: handlers fail, consumers come late, windows are full, the broker stops.
	rough bool
	// late: relay and consumer begin when the first wave has been committed.
	late bool
	// deaths are the points at which the lives of each role end, in turn.
	deaths map[string][]string
}

const (
	pollEvery = 5 * time.Millisecond
	lookEvery = time.Second // at how far a journey has come
)

// journey is a producer, a relay and a consumer, two databases and a broker.
type journey struct {
	plan
	server   *embedded.Broker
	shop     *sql.DB // the producer's
	depot    *sql.DB // the consumer's
	producer *process
	relay    *process
	consumer *process

	extra    int  // waves beyond one and one for each death
	waves    int  // that the producer was told to commit
	written  int  // that it has
	restarts int  // of the broker
	ending   bool // everybody was asked to stop
}

// makeJourney makes a journey: everybody dies where the plan says, each death is followed
// by another wave of messages, and in the end everything stops in good order and the
// databases are compared. It returns how many deaths there were.
func makeJourney(ctx context.Context, dir string, p plan) (deaths int, err error) {
	j := &journey{plan: p}
	defer j.close()
	if err := j.open(dir); err != nil {
		return 0, err
	}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last string // how far it had come
	moved := time.Now()
	for looked := moved; ; {
		if now := time.Now(); now.Sub(looked) >= lookEvery {
			looked = now
			if far := j.String(); far != last {
				last, moved = far, now
			}
			if now.Sub(moved) >= patience.Limit {
				return j.died(), fmt.Errorf("it gets on no more, for %v: %s", patience.Limit, last)
			}
		}
		done, err := j.step(ctx)
		if err != nil {
			return j.died(), err
		}
		if done {
			return j.died(), j.judge(ctx)
		}
		select {
		case <-ctx.Done():
			return j.died(), ctx.Err()
		case <-ticker.C:
		}
	}
}

func (j *journey) processes() []*process { return []*process{j.producer, j.relay, j.consumer} }

// open makes the databases and starts the broker.
func (j *journey) open(dir string) (err error) {
	for _, name := range []string{"shop.db", "depot.db"} {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(templates, name)); err != nil {
			return err
		}
	}
	shop, depot := filepath.Join(dir, "shop.db"), filepath.Join(dir, "depot.db")
	if j.shop, err = openFile(shop); err != nil {
		return err
	}
	if j.depot, err = openFile(depot); err != nil {
		return err
	}
	at, err := freeAddress()
	if err != nil {
		return err
	}
	if j.server, err = embedded.New(filepath.Join(dir, "broker"), &embedded.Options{Listen: at}); err != nil {
		return err
	}
	newProcess := func(role, db string) *process {
		args := []string{"-db", db, "-broker", "nats://" + at, "-rough=" + strconv.FormatBool(j.rough)}
		return &process{role: role, args: args, dir: dir, deaths: j.deaths[role]}
	}
	j.producer, j.relay, j.consumer = newProcess("producer", shop), newProcess("relay", shop), newProcess("consumer", depot)
	return nil
}

func (j *journey) close() {
	if j.producer != nil {
		for _, a := range j.processes() {
			a.kill()
		}
	}
	for _, db := range []*sql.DB{j.shop, j.depot} {
		if db != nil {
			_ = db.Close()
		}
	}
	if j.server != nil {
		_ = j.server.Shutdown()
	}
}

// step does what is to be done now; done says that everybody has stopped.
func (j *journey) step(ctx context.Context) (done bool, err error) {
	for _, a := range j.processes() {
		finished, err := a.reap()
		if err != nil {
			return false, err
		}
		if finished && a == j.producer {
			j.written = j.waves
		}
	}
	if j.ending {
		return !j.relay.up() && !j.consumer.up(), nil
	}
	if err := j.begin(ctx); err != nil {
		return false, err
	}
	settled, err := j.settled(ctx)
	if err != nil || !settled {
		return false, err
	}
	j.ending = true
	for _, a := range []*process{j.relay, j.consumer} {
		j.ending = j.ending && a.diesNoMore()
		if onStop(a.armed) {
			a.stop()
		}
	}
	if j.ending {
		j.relay.stop()
		j.consumer.stop()
	} else {
		j.extra++ // for whoever is to die at work
	}
	return false, nil
}

// wanted is how many waves are to be committed.
func (j *journey) wanted() int {
	return 1 + j.extra + j.died()
}

// died is how many deaths there were.
func (j *journey) died() int { return j.producer.died + j.relay.died + j.consumer.died }

// begin starts whoever is to be up and is not, and makes the rough journey's trouble.
func (j *journey) begin(ctx context.Context) error {
	wanted := j.wanted()
	if !j.producer.up() && (j.written < wanted || !j.producer.diesNoMore()) {
		j.waves = wanted
		if err := j.producer.start("-waves", strconv.Itoa(j.waves)); err != nil {
			return err
		}
	}
	if j.late && j.written == 0 && j.relay.lives == 0 {
		return nil
	}
	if !j.relay.up() {
		if err := j.relay.start(); err != nil {
			return err
		}
	}
	if j.rough && j.consumer.lives == 0 {
		// Not before copies have been sent.
		if copies, err := count(ctx, j.shop, `SELECT count(*) FROM qmessage WHERE retry > 0`); err != nil || copies == 0 {
			return err
		}
		if err := j.sendForeign(ctx); err != nil {
			return err
		}
	}
	if j.rough && j.restarts == 0 {
		if effects, err := count(ctx, j.depot, `SELECT count(*) FROM payment_effects`); err != nil {
			return err
		} else if effects > 0 {
			j.restarts++
			j.server.Kill()
			if err := j.server.Start(); err != nil {
				return err
			}
		}
	}
	if !j.consumer.up() {
		return j.consumer.start()
	}
	return nil
}

// sendForeign sends messages of a producer that knows nothing of receipts, a receipt for
// a message that nobody has sent, and the hello of a relay whose database is a copy.
func (j *journey) sendForeign(ctx context.Context) error {
	conn, err := j.server.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	foreign := func(body string) broker.Message {
		return broker.Message{Destination: "trouble", Body: []byte(body), Headers: []broker.Header{
			{Name: wire.MessageID, Value: waybill.NewID().String()}, {Name: wire.Producer, Value: "stranger"},
		}}
	}
	queue, err := store.NewQueue(j.shop, sqlite.Dialect(), "")
	if err != nil {
		return err
	}
	identity, err := queue.Identity(ctx)
	if err != nil {
		return err
	}
	receipts := waybill.ReceiptQueue("shop", identity)
	receipt := wire.EncodeReceipts(receipts, "depot", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Done}})
	hello := wire.EncodeHello(receipts, wire.Hello{Holder: "a copy's relay", Now: time.Now().Add(time.Hour).UnixMicro()})
	results, err := conn.Publish(ctx, []broker.Message{foreign("foreign"), foreign("later"), receipt, hello}, waybill.Durable)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Fate != broker.Confirmed {
			return fmt.Errorf("the broker did not take a foreign message: %w", r.Err)
		}
	}
	return nil
}

// settled says whether all that was to be committed has been, and has arrived. Answers on
// rows that are gone are dropped by a sweep.
func (j *journey) settled(ctx context.Context) (bool, error) {
	if j.producer.up() || j.written < j.wanted() || !j.producer.diesNoMore() || j.rough && j.restarts == 0 || !j.relay.up() || !j.consumer.up() {
		return false, nil
	}
	waiting, err := count(ctx, j.shop, `SELECT (SELECT count(*) FROM qmessage WHERE status = 0) + (SELECT count(*) FROM qconfirmed)`)
	if err != nil || waiting > 0 || !j.rough {
		return err == nil && waiting == 0, err
	}
	// What nobody else keeps the consumer does: what it rejects, and what waits for long.
	kept, err := count(ctx, j.depot, `SELECT count(*) FROM n_rejected WHERE status = 2 OR not_before > kept_at + 60000000`)
	return kept == 3, err
}

// String says how far it has come.
func (j *journey) String() string {
	text := fmt.Sprintf("%d of %d waves are written", j.written, j.waves)
	if j.shop != nil {
		pending, err := count(context.Background(), j.shop, `SELECT count(*) FROM qmessage WHERE status = 0`)
		answers, answersErr := count(context.Background(), j.shop, `SELECT count(*) FROM qconfirmed`)
		text += fmt.Sprintf(", %d rows are pending (%v) and %d answers are kept (%v)", pending, err, answers, answersErr)
	}
	for _, a := range j.processes() {
		if a == nil {
			continue
		}
		text += fmt.Sprintf("; %s: life %d, died %d times", a.role, a.lives, a.died)
		if a.armed != "" {
			text += ", is to die at " + a.armed
		}
	}
	return text
}
