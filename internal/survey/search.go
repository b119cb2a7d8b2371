package survey

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

const (
	searchRows = 20_000 // most rows that one search looks at
	searchMost = 100    // most messages that it finds
)

// Filter says which messages of an outbox are searched for: those that all of its fields
// allow.
type Filter struct {
	ID          waybill.ID    // the zero ID: any
	Key         string        // "": any
	Destination string        // "": any
	Status      string        // "pending", "rejected", or "": any
	Older       time.Duration // at least this old; 0: any age
	Younger     time.Duration // at most this old; 0: any age
	Text        string        // a part of the error, in any case; "": any
	Oldest      bool          // begins with the oldest; otherwise with the newest, but for rejected ones
	From        string        // Found.Next of the search that this one goes on with
	Limit       int           // most messages to find; 0: 100, which is the most
}

// Found is what a search has found.
type Found struct {
	Messages []Summary `json:"messages"`
	Looked   int       `json:"looked"` // rows that were looked at
	// Next is for Filter.From, where there may be more rows to look at; "" at the end.
	Next string `json:"next,omitempty"`
	// Stopped says where the search stopped before the end, and why; empty at the end.
	Stopped Sentence `json:"stopped"`
}

// Summary is what a list tells of a message.
type Summary struct {
	MessageID   waybill.ID `json:"message_id"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Key         string     `json:"key"`
	Status      string     `json:"status"` // pending or rejected
	Sequence    int64      `json:"sequence"`
	Sent        time.Time  `json:"sent"` // the time in the id: when it was sent, or is due
	Copies      int        `json:"copies"`
	Failures    int        `json:"failures"`
	NotBefore   *time.Time `json:"not_before,omitempty"`  // of a pending one
	RejectedAt  *time.Time `json:"rejected_at,omitempty"` // of a rejected one of the outbox's; not known of an older program's
	Error       string     `json:"error,omitempty"`       // at most its first 500 characters
}

func summarize(r *store.Row) Summary {
	s := Summary{
		MessageID: r.MessageID, Destination: r.Destination, Topic: r.Topic, Key: r.Key, Status: statusName(r.Status), Sequence: r.Sequence,
		Sent: r.MessageID.Time().UTC(), Copies: r.Retry, Failures: r.Failures, Error: r.LastError,
	}
	if r.NotBefore > 0 {
		at := time.UnixMicro(r.NotBefore).UTC()
		if r.Status == store.Rejected {
			s.RejectedAt = &at
		} else {
			s.NotBefore = &at
		}
	}
	return s
}

func statusName(status int) string {
	switch status {
	case store.Pending:
		return "pending"
	case store.Rejected:
		return "rejected"
	}
	return fmt.Sprintf("status %d", status)
}

// Search looks at rows of the outbox until it has found Filter.Limit messages, has looked at
// 20,000 rows, or two seconds have passed. Rejected ones are found by an index, in
// its order; for others it walks the table.
func (r *Reader) Search(ctx context.Context, f Filter) (*Found, error) {
	clock, err := r.queue.Clock(ctx)
	if err != nil {
		return nil, err
	}
	if f.Limit <= 0 || f.Limit > searchMost {
		f.Limit = searchMost
	}
	found := &Found{Messages: []Summary{}}
	if !f.ID.IsZero() {
		rows, err := r.queue.Find(ctx, []waybill.ID{f.ID})
		for i := range rows {
			found.Messages = append(found.Messages, summarize(&rows[i]))
		}
		found.Looked = len(rows)
		return found, err
	}
	walk, err := r.walk(&f)
	if err != nil {
		return nil, err
	}
	s := &search{filter: &f, found: found, now: time.UnixMicro(clock), within: r.SearchTime, until: time.Now().Add(r.SearchTime)}
	for page := f.Limit + 1; ; page = lookPage { // often the first ones are meant
		rows, err := walk.next(ctx, page)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if s.stops() {
				return found, nil
			}
			s.look(&rows[i])
			found.Next = walk.passed(&rows[i])
		}
		if len(rows) < page {
			found.Next = ""
			return found, nil
		}
	}
}

// search is one under way.
type search struct {
	filter *Filter
	found  *Found
	now    time.Time // by the database's clock
	within time.Duration
	until  time.Time
	last   time.Time // of the last row that was looked at
}

func (s *search) stops() bool {
	f := s.found
	switch {
	case len(f.Messages) >= s.filter.Limit:
		f.Stopped = say("These are the first %d. There may be more.", len(f.Messages))
	case f.Looked >= searchRows:
		f.Stopped = say("Stopped after %d messages, at one of %s.", f.Looked, s.last.Format("2006-01-02 15:04:05 MST"))
	case f.Looked > 0 && time.Now().After(s.until):
		f.Stopped = say("Stopped after %s and %d messages, at one of %s.", Span(s.within), f.Looked, s.last.Format("2006-01-02 15:04:05 MST"))
	default:
		return false
	}
	return true
}

func (s *search) look(row *store.Row) {
	s.found.Looked++
	s.last = row.MessageID.Time().UTC()
	f, age := s.filter, s.now.Sub(s.last)
	if (f.Status == "" || f.Status == statusName(row.Status)) &&
		(f.Key == "" || f.Key == row.Key) &&
		(f.Destination == "" || f.Destination == row.Destination) &&
		(f.Older == 0 || age >= f.Older) && (f.Younger == 0 || age <= f.Younger) &&
		(f.Text == "" || containsFold(row.LastError, f.Text)) {
		s.found.Messages = append(s.found.Messages, summarize(row))
	}
}

// walk is a way through rows, a page at a time.
type walk struct {
	next   func(ctx context.Context, limit int) ([]store.Row, error)
	passed func(row *store.Row) (place string) // a Filter.From that goes on after this row
}

// BadPlaceError says that Filter.From is none that a search has returned.
type BadPlaceError struct{ From string }

func (e *BadPlaceError) Error() string {
	return fmt.Sprintf("%.60q is no place that a search can go on from: use the one that it returned as next", e.From)
}

// parsePlace parses the place of a rejected message, as walk.passed returns it.
func parsePlace(from string) (store.Place, error) {
	notBefore, id, _ := strings.Cut(from, ".")
	at, err := strconv.ParseInt(notBefore, 10, 64)
	if err != nil {
		return store.Place{}, &BadPlaceError{from}
	}
	parsed, err := waybill.ParseID(id)
	if err != nil {
		return store.Place{}, &BadPlaceError{from}
	}
	return store.Place{NotBefore: at, MessageID: parsed}, nil
}

func (r *Reader) walk(f *Filter) (*walk, error) {
	if f.Status == statusName(store.Rejected) {
		var after store.Place
		if f.From != "" {
			var err error
			if after, err = parsePlace(f.From); err != nil {
				return nil, err
			}
		}
		return &walk{
			next: func(ctx context.Context, limit int) ([]store.Row, error) {
				return r.queue.GlanceRejected(ctx, after, limit)
			},
			passed: func(row *store.Row) string {
				after = row.Place()
				return fmt.Sprintf("%d.%s", after.NotBefore, after.MessageID)
			},
		}, nil
	}
	from := int64(math.MaxInt64)
	if f.Oldest {
		from = math.MinInt64
	}
	if f.From != "" {
		n, err := strconv.ParseInt(f.From, 10, 64)
		if err != nil {
			return nil, &BadPlaceError{f.From}
		}
		from = n
	}
	return &walk{
		next: func(ctx context.Context, limit int) ([]store.Row, error) {
			return r.queue.Glance(ctx, from, !f.Oldest, limit)
		},
		passed: func(row *store.Row) string {
			from = row.ID
			return strconv.FormatInt(from, 10)
		},
	}, nil
}
