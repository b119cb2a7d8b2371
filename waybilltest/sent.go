package waybilltest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Querier reads in a transaction: *sql.Tx does, and so do the transactions of bun and sqlx, and
// for a pgx.Tx pgxdriver.Tx(tx). *sql.DB does too, for what has been committed.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Match says which messages are meant. What is zero in it matches any message.
type Match struct {
	Destination string
	// Topic matches messages to a topic, and messages to a queue where it is false and
	// Destination is given.
	Topic bool
	Key   string
	// Headers are among the message's headers; it may have others.
	Headers map[string]string
	// Body is the whole body.
	Body []byte
	// JSON is the body as a value: its encoding has to mean the same as the body does. A
	// json.RawMessage is taken as it is.
	JSON any
	// Count is how many messages have to match. Default: at least one.
	Count int
	// TablePrefix is the outbox's; see store.NewNames.
	TablePrefix string
}

// Sent returns the messages that are in the outbox and not yet confirmed, in the order of
// their ids, which is that of sending or, of delayed ones, of the times at which they are
// due. They are what the transaction sees: what it has sent itself, and what others have
// committed. Where tests share a database, run each in a transaction that is
// rolled back. Rejected messages are not among them. It works in every database.
func Sent(t testing.TB, tx Querier) []waybill.Message {
	t.Helper()
	return sent(t, tx, "")
}

func sent(t testing.TB, tx Querier, prefix string) []waybill.Message {
	t.Helper()
	names, err := store.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	all, err := readSent(t.Context(), tx, names)
	if err != nil {
		t.Fatalf("waybilltest: read the messages in %s: %v", names.Message, err)
	}
	return all
}

func readSent(ctx context.Context, tx Querier, names store.Names) (all []waybill.Message, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, failures, not_before FROM `+
		names.Message+` WHERE status = 0`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var m waybill.Message
		var headers sql.NullString
		var notBefore int64
		if err := rows.Scan(&m.ID, &m.Destination, &m.Topic, &m.Key, &m.Sequence, &m.TimeStamp, &headers, &m.Body, &m.Failures, &notBefore); err != nil {
			return nil, err
		}
		if notBefore > 0 {
			m.NotBefore = time.UnixMicro(notBefore).UTC()
		}
		if headers.String != "" {
			if err := json.Unmarshal([]byte(headers.String), &m.Headers); err != nil {
				return nil, fmt.Errorf("headers of message %s: %w", m.ID, err)
			}
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b waybill.Message) int { return a.ID.Compare(b.ID) })
	return all, rows.Err()
}

// RequireSent ends the test unless there are messages in the outbox that match; see Sent.
// It tells which ones there are, and what the closest one lacks.
func RequireSent(t testing.TB, tx Querier, m Match) {
	t.Helper()
	m.require(t, "in the outbox", sent(t, tx, m.TablePrefix))
}

// RequireNotSent ends the test where a message in the outbox matches; see Sent.
func RequireNotSent(t testing.TB, tx Querier, m Match) {
	t.Helper()
	m.refuse(t, "in the outbox", sent(t, tx, m.TablePrefix))
}

// require ends the test unless as many of the messages match as are wanted.
func (m *Match) require(t testing.TB, where string, all []waybill.Message) {
	t.Helper()
	found := 0
	var closest *waybill.Message
	var lacks []string
	distance := 0
	for i := range all {
		differs := m.differences(t, &all[i])
		if len(differs) == 0 {
			found++
			continue
		}
		d := 2 * len(differs)
		if m.Destination != "" && all[i].Destination != m.Destination {
			d++
		}
		if closest == nil || d < distance {
			closest, lacks, distance = &all[i], differs, d
		}
	}
	if m.Count > 0 && found == m.Count || m.Count == 0 && found > 0 {
		return
	}
	wanted := "at least one"
	if m.Count > 0 {
		wanted = fmt.Sprintf("exactly %d", m.Count)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "waybilltest: %d of the %d messages %s match %s, want %s", found, len(all), where, m, wanted)
	if closest != nil && found == 0 {
		fmt.Fprintf(&b, "\nthe closest one, %s: %s", describe(closest), strings.Join(lacks, "; "))
	}
	fmt.Fprint(&b, listed(all))
	t.Fatal(b.String())
}

func (m *Match) refuse(t testing.TB, where string, all []waybill.Message) {
	t.Helper()
	for i := range all {
		if len(m.differences(t, &all[i])) == 0 {
			t.Fatalf("waybilltest: a message %s matches %s, want none: %s%s", where, m, describe(&all[i]), listed(all))
		}
	}
}

// differences says in what a message is not what is meant.
func (m *Match) differences(t testing.TB, got *waybill.Message) (all []string) {
	t.Helper()
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if m.Destination != "" && (got.Destination != m.Destination || got.Topic != m.Topic) || m.Destination == "" && m.Topic && !got.Topic {
		note("destination %s, want %s", place(got.Destination, got.Topic), place(m.Destination, m.Topic))
	}
	if m.Key != "" && got.Key != m.Key {
		note("key %q, want %q", got.Key, m.Key)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		if value, ok := got.Headers[name]; !ok {
			note("no header %q, want %q", name, m.Headers[name])
		} else if value != m.Headers[name] {
			note("header %q is %q, want %q", name, value, m.Headers[name])
		}
	}
	if m.Body != nil && !bytes.Equal(got.Body, m.Body) {
		note("body %s, want %s", shortened(got.Body), shortened(m.Body))
	}
	if m.JSON != nil {
		want, err := json.Marshal(m.JSON)
		if err != nil {
			t.Fatalf("waybilltest: Match.JSON cannot be encoded: %v", err)
		}
		if !sameJSON(got.Body, want) {
			note("body %s, want JSON that means %s", shortened(got.Body), shortened(want))
		}
	}
	return all
}

// sameJSON says whether two texts of JSON have the same value. Numbers are compared digit
// by digit, so that great ones do not come to the same.
func sameJSON(a, b []byte) bool {
	x, okX := decoded(a)
	y, okY := decoded(b)
	return okX && okY && reflect.DeepEqual(x, y)
}

func decoded(text []byte) (value any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return nil, false
	}
	return value, !d.More()
}

// String describes what is meant, for people.
func (m *Match) String() string {
	var parts []string
	if m.Destination != "" {
		parts = append(parts, "destination "+place(m.Destination, m.Topic))
	}
	if m.Key != "" {
		parts = append(parts, fmt.Sprintf("key %q", m.Key))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		parts = append(parts, fmt.Sprintf("header %q = %q", name, m.Headers[name]))
	}
	if m.Body != nil {
		parts = append(parts, "body "+shortened(m.Body))
	}
	if m.JSON != nil {
		text, _ := json.Marshal(m.JSON)
		parts = append(parts, "JSON "+shortened(text))
	}
	if len(parts) == 0 {
		return "(any)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func place(destination string, topic bool) string {
	if topic {
		return fmt.Sprintf("%q (a topic)", destination)
	}
	return fmt.Sprintf("%q", destination)
}

// longestShown bounds what is shown of a body, in bytes, and mostListed how many messages
// are listed.
const longestShown, mostListed = 200, 20

func shortened(body []byte) string {
	if len(body) > longestShown {
		return fmt.Sprintf("%q… (%d bytes)", body[:longestShown], len(body))
	}
	return fmt.Sprintf("%q", body)
}

func describe(m *waybill.Message) string {
	text := place(m.Destination, m.Topic)
	if m.Key != "" {
		text += fmt.Sprintf(" key %q, sequence %d", m.Key, m.Sequence)
	}
	return fmt.Sprintf("%s %s body %s", m.ID, text, shortened(m.Body))
}

func listed(all []waybill.Message) string {
	var b strings.Builder
	for i := range all[:min(len(all), mostListed)] {
		fmt.Fprintf(&b, "\n  %s", describe(&all[i]))
	}
	if more := len(all) - mostListed; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}
