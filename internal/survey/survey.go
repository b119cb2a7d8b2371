// Package survey reads what the person on duty asks of a database: what waits, since when
// and why, what was rejected and for which reasons, and one message whole. Everything it
// reads is bounded, in rows and in time, whatever number of rows there are; where it
// stopped, it says so.
//
// The files: survey.go (Reader), outbox.go (destinations), why.go (why they wait), pause.go (what is paused),
// rejected.go and fold.go (rejected messages, in groups), search.go, message.go (one message
// whole), consumer.go (the consumer's side).
package survey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// leaseName is the row that relays elect their leader by.
const leaseName = "relay"

// Reader reads the tables of one database. It is safe for concurrent use.
type Reader struct {
	db      *sql.DB
	dialect store.Dialect
	prefix  string
	queue   *store.Queue
	keeper  *store.Keeper
}

// NewReader reads the tables of db whose names have the prefix; store.NewNames has its rules.
// It asks nothing of the database.
func NewReader(db *sql.DB, dialect store.Dialect, prefix string) (*Reader, error) {
	queue, err := store.NewQueue(db, dialect, prefix)
	if err != nil {
		return nil, err
	}
	keeper, err := store.NewKeeper(db, dialect, prefix, "")
	if err != nil {
		return nil, err
	}
	return &Reader{db: db, dialect: dialect, prefix: prefix, queue: queue, keeper: keeper}, nil
}

// Queue is the producer's tables.
func (r *Reader) Queue() *store.Queue { return r.queue }

// Close closes the connections that are kept for the next statements. The Reader can be used
// again.
func (r *Reader) Close() {
	r.queue.CloseIdle()
	r.keeper.CloseIdle()
}

// Sides are the sides of Waybill whose tables are there.
type Sides struct {
	Producer, Consumer bool
	// ProducerProblem and ConsumerProblem say why a side cannot be shown; "" where it can, or
	// where it is not there at all.
	ProducerProblem, ConsumerProblem string
}

// ErrNoTables says that neither side's tables are there.
var ErrNoTables = errors.New("there are no tables of Waybill's in this database: run 'waybill init'")

// Sides looks which tables are there.
func (r *Reader) Sides(ctx context.Context) (Sides, error) {
	var s Sides
	producer, consumer := r.queue.CheckSchema(ctx), r.keeper.CheckSchema(ctx)
	for _, err := range []error{producer, consumer} {
		if err != nil && !errors.Is(err, waybill.ErrSchema) {
			return s, err
		}
	}
	if isMissing(producer) && isMissing(consumer) {
		return s, ErrNoTables
	}
	if producer == nil && r.queue.Older() {
		producer = errors.New("the producer's tables are of an older version, which has no index for what is shown here: run 'waybill init --side producer'")
	}
	s.Producer, s.ProducerProblem = sideOf(producer)
	s.Consumer, s.ConsumerProblem = sideOf(consumer)
	return s, nil
}

func sideOf(err error) (there bool, problem string) {
	switch {
	case err == nil:
		return true, ""
	case isMissing(err):
		return false, ""
	}
	return false, err.Error()
}

func isMissing(err error) bool {
	var schema *waybill.SchemaError
	return errors.As(err, &schema) && schema.Have == 0
}

// Count is a number of rows that was counted up to a bound.
type Count struct {
	N    int64 `json:"n"`
	More bool  `json:"more,omitempty"` // there may be more than N
}

// Text is the count as a person reads it, such as "10,000+".
func (c Count) Text() string {
	text := fmt.Sprint(c.N)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if c.More {
		text += "+"
	}
	return text
}

func (c *Count) add(other Count) {
	c.N += other.N
	c.More = c.More || other.More
}

// Sentence is a text with arguments, which can be said in other languages by its Format.
type Sentence struct {
	Format string
	Args   []any
}

// IsZero reports whether there is nothing to say.
func (s Sentence) IsZero() bool { return s.Format == "" }

// String is the sentence in English.
func (s Sentence) String() string {
	if len(s.Args) == 0 {
		return s.Format
	}
	return fmt.Sprintf(s.Format, s.Args...)
}

// MarshalText makes the sentence in English.
func (s Sentence) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// say makes a Sentence.
func say(format string, args ...any) Sentence { return Sentence{format, args} }

// Span is a length of time as a person reads it, with one unit or two: "3 d 4 h", "12 min".
func Span(d time.Duration) string {
	d = d.Abs().Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}
