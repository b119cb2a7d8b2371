// Package status reads what "waybill status" tells from the tables of both sides: call
// NewReader, Read, and the report's Write; a Meter gives a series of reports their rates.
//
// The files: status.go (the report), consumer.go (the consumer's side of it), wait.go (why
// messages wait), paused.go (which destinations are paused), last.go and rates.go (rates), text.go (what a person reads).
package status

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

// leaseName is the row that relays elect their leader by.
const leaseName = "relay"

// Report is the state of one database. Its JSON form is what "status --json" prints.
type Report struct {
	Database string    `json:"database"` // its address without the password
	At       time.Time `json:"at"`       // by the database's clock
	Producer Producer  `json:"producer"`
	Consumer Consumer  `json:"consumer"`
	Rates    *Rates    `json:"rates,omitempty"`
	// Paused are the destinations of which nothing is sent, or taken.
	Paused []view.Pause `json:"paused"`
	// Findings are what a person should know of the database, as the first report found it.
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is something about the database, such as a right that is missing.
type Finding struct {
	Side   string `json:"side"` // producer or consumer
	Blocks bool   `json:"blocks"`
	Text   string `json:"text"`
}

// Producer is the state of the outbox.
type Producer struct {
	// Problem is why there is nothing to tell, such as missing tables; "" if there is.
	Problem  string  `json:"problem,omitempty"`
	Tables   *Tables `json:"tables,omitempty"` // nil where there are none
	Pending  int64   `json:"pending"`
	Rejected int64   `json:"rejected"`
	// AtLeast: there are more than these, and there may be other destinations; only so many
	// are counted.
	PendingAtLeast  bool          `json:"pending_at_least,omitempty"`
	RejectedAtLeast bool          `json:"rejected_at_least,omitempty"`
	Destinations    []Destination `json:"destinations"`
	// Waits are why messages wait, where that is known.
	Waits []Wait `json:"waits,omitempty"`
	Relay *Lease `json:"relay"` // nil where no relay has ever led
	// Identity is the outbox's own among all others; its receipt queue's name ends in it.
	Identity string `json:"identity,omitempty"`
	Twin     *Twin  `json:"twin,omitempty"` // nil where none was heard lately

	last int64 // the last row id; see Reader.lastID
}

// Tables tell of one side's version.
type Tables struct {
	Version int `json:"version"`
	// CompatibleFrom is the oldest version of programs that may use the tables.
	CompatibleFrom int `json:"compatible_from"`
	// Program is the version that this program makes.
	Program int `json:"program"`
}

// Destination counts the rows of one destination and status.
type Destination struct {
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Status      string     `json:"status"` // pending or rejected
	Messages    int64      `json:"messages"`
	AtLeast     bool       `json:"at_least,omitempty"` // there are more; only so many are counted
	OldestID    waybill.ID `json:"oldest_id"`
	// OldestAge is the time since the first of them was sent, in seconds.
	OldestAge float64 `json:"oldest_age_seconds"`
	// Delayed counts those that are not due yet, and DueIn is when the first of these is.
	Delayed int64   `json:"delayed,omitempty"`
	DueIn   float64 `json:"due_in_seconds,omitempty"`
	// MostCopies is the most of any one message, known to be sent beyond the first.
	MostCopies int `json:"most_copies"`
}

// Lease is the relay's.
type Lease struct {
	Holder  string  `json:"holder"` // the relay that leads, or led last; "" if that gave the lease back
	Leading bool    `json:"leading"`
	Left    float64 `json:"lease_left_seconds"` // below 0 once it has ended; 0 if it was given back
	Cursor  int64   `json:"cursor"`             // rows up to here have been read
}

// Twin is a relay of another database that has this outbox's identity: one is a copy of the
// other, and on one broker they take each other's receipts.
type Twin struct {
	Holder string  `json:"holder"`
	Ago    float64 `json:"heard_seconds_ago"`
}

// twinTime is how long a twin is told of after it was heard last; while it is there it is
// heard every minute at least.
const twinTime = 10 * time.Minute

// Consumer is what the inboxes of this database remember.
type Consumer struct {
	Problem   string          `json:"problem,omitempty"`
	Tables    *Tables         `json:"tables,omitempty"`
	Consumers []ConsumerGroup `json:"consumers"`
}

// ConsumerGroup is one consumer's memory.
type ConsumerGroup struct {
	Consumer string `json:"consumer"`
	// Once and Latest count records by level. AtLeast: there are more.
	Once          int64 `json:"once_records"`
	Latest        int64 `json:"latest_records"`
	OnceAtLeast   bool  `json:"once_at_least,omitempty"`
	LatestAtLeast bool  `json:"latest_at_least,omitempty"`
	// Kept count the messages that it keeps in n_rejected: those that wait for a person, and
	// those that are to be handled again.
	KeptRejected int64     `json:"kept_rejected"`
	KeptWaiting  int64     `json:"kept_waiting"`
	KeptAtLeast  bool      `json:"kept_at_least,omitempty"`
	Producers    []Horizon `json:"producers"`
}

// Horizon is what a consumer knows about forgetting one producer's messages.
type Horizon struct {
	Producer string `json:"producer"`
	// Forgotten: everything of this producer below it is forgotten. Empty: nothing is.
	Forgotten string `json:"forgotten_below,omitempty"`
	// Floor is the oldest message that the producer may still send, as far as it has
	// told. Empty: it has told nothing.
	Floor string `json:"floor,omitempty"`
}

// ErrNoTables says that neither side's tables are there.
var ErrNoTables = errors.New("there are no tables of Waybill's in this database: run 'waybill init'")

// Reader reads reports.
type Reader struct {
	db      *sql.DB
	dialect store.Dialect
	prefix  string
	names   store.Names
	queue   *store.Queue
	address string

	// Exact has all be counted, however long that takes.
	Exact bool

	checked  bool
	findings []Finding
}

// NewReader reads the tables of db with the prefix. address names the database in
// reports.
func NewReader(db *sql.DB, dialect store.Dialect, prefix, address string) (*Reader, error) {
	queue, err := store.NewQueue(db, dialect, prefix)
	if err != nil {
		return nil, err
	}
	names, err := store.NewNames(prefix)
	if err != nil {
		return nil, err
	}
	return &Reader{db: db, dialect: dialect, prefix: prefix, names: names, queue: queue, address: address}, nil
}

// Read reads both sides. A side whose tables are missing or of another version is a
// Problem of the report; both missing is ErrNoTables.
func (r *Reader) Read(ctx context.Context) (*Report, error) {
	clock, err := r.queue.Clock(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{Database: r.address, At: time.UnixMicro(clock).UTC()}
	if report.Findings, err = r.check(ctx); err != nil {
		return nil, err
	}
	producer := r.readProducer(ctx, report)
	consumer := r.readConsumer(ctx, report)
	for _, err := range []error{producer, consumer} {
		if err != nil && !errors.Is(err, waybill.ErrSchema) {
			return nil, err
		}
	}
	if missing(producer) && missing(consumer) {
		return nil, ErrNoTables
	}
	if err := r.readPaused(ctx, report); err != nil {
		return nil, err
	}
	if producer != nil {
		report.Producer.Problem = producer.Error()
	}
	if consumer != nil {
		report.Consumer.Problem = consumer.Error()
	}
	return report, nil
}

// check looks at what a person should know of the database, once for all reports.
func (r *Reader) check(ctx context.Context) ([]Finding, error) {
	if r.checked {
		return r.findings, nil
	}
	ledger, err := store.NewLedger(r.db, r.dialect, r.prefix, "status")
	if err != nil {
		return nil, err
	}
	defer ledger.CloseIdle()
	var producer, consumer []store.Finding
	if err = r.queue.CheckSchema(ctx); err == nil {
		producer, err = r.queue.Check(ctx)
	}
	if err != nil && !errors.Is(err, waybill.ErrSchema) {
		return nil, err
	}
	if err = ledger.CheckSchema(ctx); err == nil {
		consumer, err = ledger.Check(ctx, waybill.Once, waybill.Latest)
	}
	if err != nil && !errors.Is(err, waybill.ErrSchema) {
		return nil, err
	}
	r.checked = true
	r.add(store.Producer, producer)
	r.add(store.Consumer, consumer)
	return r.findings, nil
}

// add adds what was found on one side, each text once.
func (r *Reader) add(side store.Side, found []store.Finding) {
	for _, f := range found {
		known := slices.ContainsFunc(r.findings, func(other Finding) bool { return other.Text == f.Text })
		if !known {
			r.findings = append(r.findings, Finding{Side: string(side), Blocks: f.Blocks, Text: f.Text})
		}
	}
}

func missing(err error) bool {
	var schema *waybill.SchemaError
	return errors.As(err, &schema) && schema.Have == 0
}

func (r *Reader) readProducer(ctx context.Context, report *Report) error {
	p := &report.Producer
	p.Destinations = []Destination{}
	var err error
	if p.Tables, err = r.tables(ctx, store.Producer); err != nil {
		return err
	}
	if err := r.queue.CheckSchema(ctx); err != nil {
		return err
	}
	counted, err := r.queue.Tally(ctx, r.limit(), tallyTime)
	if err != nil {
		return err
	}
	p.Pending, p.PendingAtLeast, p.Rejected, p.RejectedAtLeast = counted.Pending, counted.PendingBounded, counted.Rejected, counted.RejectedBounded
	for _, c := range counted.Destinations {
		d := Destination{
			Destination: c.Destination, Topic: c.Topic, Status: view.StatusName(c.Status), Messages: c.Rows, AtLeast: p.PendingAtLeast,
			OldestID: c.Oldest, OldestAge: max(seconds(report.At.Sub(time.UnixMicro(c.Sent))), 0), Delayed: c.Delayed, MostCopies: c.MaxRetry,
		}
		if c.Status == store.Rejected {
			d.AtLeast = p.RejectedAtLeast
		}
		if c.Delayed > 0 {
			d.DueIn = seconds(time.UnixMicro(c.Due).Sub(report.At))
		}
		p.Destinations = append(p.Destinations, d)
	}
	lease, err := r.queue.Lease(ctx, leaseName)
	if err != nil {
		return err
	}
	if lease.Present {
		p.Relay = &Lease{Holder: lease.Holder, Cursor: lease.Cursor}
		if lease.Holder != "" {
			p.Relay.Left = seconds(time.Duration(lease.Left) * time.Microsecond)
			p.Relay.Leading = lease.Left > 0
		}
	}
	if p.Identity, err = r.queue.Identity(ctx); err != nil {
		return err
	}
	twin, ago, err := r.queue.Twin(ctx)
	if err != nil {
		return err
	}
	if twin != "" && ago < twinTime {
		p.Twin = &Twin{Holder: twin, Ago: seconds(ago)}
	}
	if p.Waits, err = r.waits(ctx, report); err != nil {
		return err
	}
	p.last, err = r.lastID(ctx, lease.Cursor)
	return err
}

// How much is counted unless all is to be: so many rows, or fewer where that takes longer than
// tallyTime, as where SQLite has to walk over large bodies.
const (
	tallyLimit = 10_000
	tallyTime  = 3 * time.Second
)

// limit is how many rows of one kind are counted; 0 for all.
func (r *Reader) limit() int {
	if r.Exact {
		return 0
	}
	return tallyLimit
}

// tables reads the version of one side's tables.
func (r *Reader) tables(ctx context.Context, side store.Side) (*Tables, error) {
	v, err := store.ReadVersion(ctx, r.db, r.dialect, r.names, side)
	if err != nil || v.Have == 0 {
		return nil, err
	}
	return &Tables{Version: v.Have, CompatibleFrom: v.CompatibleFrom, Program: v.Newest}, nil
}

// seconds is d in seconds, to the millisecond.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond)) / float64(time.Second)
}
