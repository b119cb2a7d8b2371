package store

import (
	"context"
	"database/sql"
	"strings"
	"time"
)

// Wait is why messages wait, as the relay that leads has noted it: what it alone knows.
type Wait struct {
	// Destination is the one whose messages wait; "" for all, as where the broker is away.
	Destination string
	Topic       bool
	Since       time.Duration // ago
	Why         string        // a sentence; of a longer one the first 250 characters are kept
}

// WaitDialect is the part of a Dialect for Waits, which are rows of qrelay.
type WaitDialect interface {
	// NoteWait writes the row of a name: the text as its holder, clock - ago as its
	// scan_cursor, and clock + ttl as its expires_at (µs).
	NoteWait(n Names, name, text string, ago, ttl int64) Statement
	// EndWait deletes the row of a name.
	EndWait(n Names, name string) Statement
	// Waits reads, of rows whose name begins with WaitPrefix and that have not expired, name,
	// holder and clock - scan_cursor, in order of name.
	Waits(n Names, limit int) Statement
}

// WaitPrefix begins the names of Waits in qrelay.
const WaitPrefix = "why."

const (
	waitQueue, waitTopic = WaitPrefix + "queue.", WaitPrefix + "topic."
	waitAll              = WaitPrefix + "all"
	maxWaitText          = 250
	maxWaitName          = 255
	maxWaits             = 100
)

// name is the name of the row; "" where it would be too long for one.
func (w *Wait) name() string {
	name := waitAll
	switch {
	case w.Destination != "" && w.Topic:
		name = waitTopic + w.Destination
	case w.Destination != "":
		name = waitQueue + w.Destination
	}
	if len(name) > maxWaitName {
		return ""
	}
	return name
}

// NoteWait notes why messages wait, in the place of what was noted of the same destination.
// It is forgotten after ttl. A destination whose name is longer than 245 bytes has no note.
func (q *Queue) NoteWait(ctx context.Context, w Wait, ttl time.Duration) error {
	name := w.name()
	if name == "" {
		return nil
	}
	text := []rune(strings.ToValidUTF8(strings.ReplaceAll(w.Why, "\x00", " "), "\uFFFD"))
	if len(text) > maxWaitText {
		text = append(text[:maxWaitText-1], '…')
	}
	_, err := q.exec(ctx, "note why messages wait", q.dialect.NoteWait(q.names, name, string(text), w.Since.Microseconds(), ttl.Microseconds()))
	return err
}

// EndWait takes back what was noted of a destination, "" for that of all.
func (q *Queue) EndWait(ctx context.Context, destination string, topic bool) error {
	w := Wait{Destination: destination, Topic: topic}
	name := w.name()
	if name == "" {
		return nil
	}
	_, err := q.exec(ctx, "note that messages do not wait any more", q.dialect.EndWait(q.names, name))
	return err
}

// Waits returns why messages wait, at most 100 destinations of them.
func (q *Queue) Waits(ctx context.Context) ([]Wait, error) {
	var all []Wait
	err := q.eachIn(ctx, q.sessions.helping, "read why messages wait", q.dialect.Waits(q.names, maxWaits), func(rows *sql.Rows) error {
		var name string
		var w Wait
		var ago int64
		if err := rows.Scan(&name, &w.Why, &ago); err != nil {
			return err
		}
		w.Since = time.Duration(max(ago, 0)) * time.Microsecond
		var isTopic, isQueue bool
		if w.Destination, isTopic = strings.CutPrefix(name, waitTopic); isTopic {
			w.Topic = true
		} else if w.Destination, isQueue = strings.CutPrefix(name, waitQueue); !isQueue {
			w.Destination = ""
		}
		all = append(all, w)
		return nil
	})
	return all, err
}
