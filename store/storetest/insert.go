package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var insertCases = []testCase{
	{name: "a row exists if its transaction commits and not if it rolls back", run: func(s *suite) {
		tx, err := s.db.BeginTx(s.Context(), nil)
		s.must(err)
		s.must(s.insert(tx, row("orders", "k", "phantom"), row("orders", "", "phantom")))
		s.must(tx.Rollback())
		s.send(row("orders", "k", "real"))
		if got := field(s.all(), body); !slices.Equal(got, []string{"real"}) {
			s.Errorf("got the rows %q, want the committed one alone", got)
		}
	}},
	{name: "what is written is read back unchanged, one by one and in a batch", run: insertUnchanged},
	{name: "keys that differ in one byte are different keys", run: insertKeys},
	{name: "sequences count from 1 without gaps and time stamps rise, per key", run: func(s *suite) {
		for range 3 {
			s.send(row("orders", "a", ""))
			s.send(row("orders", "b", ""), row("orders", "a", ""), row("orders", "a", ""), row("other", "a", ""))
		}
		s.checkKeys(map[string]int{"orders/a": 9, "orders/b": 3, "other/a": 3})
	}},
	{name: "a queue and a topic of one name count apart", run: func(s *suite) {
		topic := func(key string) store.NewRow {
			r := row("prices", key, "")
			r.Topic = true
			return r
		}
		far := s.clock() + time.Hour.Microseconds()
		own := topic("a")
		own.TimeStamp = far
		for _, rows := range [][]store.NewRow{{row("prices", "a", "")}, {topic("a")}, {topic("a"), row("prices", "a", ""), topic("b"), topic("a")}, {own}} {
			s.send(rows...)
		}
		const plain = `INSERT INTO {qmessage} (destination, dest_type, business_mark, message_content) VALUES ('prices', ?, 'a', 'x')`
		for _, destType := range []int{0, 1, 1} {
			s.must(s.exec(s.db, plain, destType))
		}
		got := map[destinationKey][]int64{}
		for _, r := range s.all() {
			at := destinationKey{r.Destination, r.Topic, r.Key}
			got[at] = append(got[at], r.Sequence)
			if isAhead := r.TimeStamp >= far; isAhead != (r.Topic && r.Key == "a" && r.Sequence >= 4) {
				s.Errorf("got the time stamp %d of %+v, want the topic's alone above %d", r.TimeStamp, at, far)
			}
		}
		want := map[destinationKey][]int64{
			{"prices", false, "a"}: {1, 2, 3},
			{"prices", true, "a"}:  {1, 2, 3, 4, 5, 6},
			{"prices", true, "b"}:  {1},
		}
		if !reflect.DeepEqual(got, want) {
			s.Errorf("got the sequences %v, want %v", got, want)
		}
	}},
	{name: "a rollback takes the key's bump with it", run: func(s *suite) {
		for _, rows := range [][]store.NewRow{{row("o", "k", "")}, {row("o", "k", ""), row("o", "k", "")}} {
			tx, err := s.db.BeginTx(s.Context(), nil)
			s.must(err)
			s.must(s.insert(tx, rows...))
			s.must(tx.Rollback())
		}
		s.send(row("o", "k", ""))
		s.checkKeys(map[string]int{"o/k": 1})
	}},
	{name: "time stamps are the database's clock", run: func(s *suite) {
		before := s.clock()
		s.send(row("o", "one", ""))
		s.send(row("o", "two", ""), row("o", "three", ""), row("o", "", ""))
		s.send(row("o", "", ""))
		after := s.clock()
		for _, r := range s.all() {
			if r.TimeStamp < before || r.TimeStamp > after {
				s.Errorf("got the time stamp %d of key %q, want one between %d and %d", r.TimeStamp, r.Key, before, after)
			}
		}
	}},
	{name: "a key's time stamps rise also where the clock is behind them", run: func(s *suite) {
		ahead := s.clock() + time.Hour.Microseconds()
		first := row("o", "k", "")
		first.TimeStamp = ahead
		s.send(first)
		s.send(row("o", "k", ""))
		s.send(row("o", "k", ""), row("o", "k", ""))
		want := []int64{ahead, ahead + 1, ahead + 2, ahead + 3}
		if got := field(s.all(), func(r store.Row) int64 { return r.TimeStamp }); !slices.Equal(got, want) {
			s.Errorf("got the time stamps %d, want %d", got, want)
		}
	}},
	{name: "a caller's own time stamp is used unchanged and the key keeps the greatest", run: insertOwnStamps},
	{name: "rows without a key have sequence 0 and keep their order", run: func(s *suite) {
		var want []string
		var rows []store.NewRow
		for i := range 20 {
			want = append(want, fmt.Sprint(i))
			rows = append(rows, row([]string{"z", "a", "m"}[i%3], "", fmt.Sprint(i)))
		}
		s.send(rows...)
		all := s.all()
		if got := field(all, body); !slices.Equal(got, want) {
			s.Errorf("got the order %q, want that of the call, %q", got, want)
		}
		for _, r := range all {
			if r.Sequence != 0 || r.TimeStamp == 0 {
				s.Errorf("got the sequence %d and the time stamp %d, want 0 and the clock", r.Sequence, r.TimeStamp)
			}
		}
	}},
	{name: "more rows than one statement takes are written all, in order", run: func(s *suite) {
		n := s.dialect.Capabilities().MaxBatch + 7
		rows := make([]store.NewRow, n)
		for i := range rows {
			rows[i] = row("o", fmt.Sprint(i%3), fmt.Sprint(i))
		}
		s.send(rows...)
		s.checkKeys(map[string]int{"o/0": (n + 2) / 3, "o/1": (n + 1) / 3, "o/2": n / 3})
		last := map[string]int{}
		for _, r := range s.all() {
			i, err := strconv.Atoi(string(r.Body))
			s.must(err)
			if before, ok := last[r.Key]; ok && i <= before {
				s.Fatalf("key %s: got row %d behind row %d, want them in the order of the call", r.Key, i, before)
			}
			last[r.Key] = i
		}
	}},
	{name: "large bodies are written together", run: func(s *suite) {
		var rows []store.NewRow
		for i := range 12 {
			rows = append(rows, row("o", fmt.Sprint(i%2), strings.Repeat(fmt.Sprint(i%10), 1<<20)))
		}
		s.send(rows...)
		all := s.all()
		for _, r := range all {
			if len(r.Body) != 1<<20 || strings.Trim(string(r.Body), string(r.Body[:1])) != "" {
				s.Fatalf("got a body of %d bytes, want it as it was sent", len(r.Body))
			}
		}
		s.checkKeys(map[string]int{"o/0": 6, "o/1": 6})
	}},
	{name: "concurrent senders of a key commit in the order of its sequence, without gaps", run: insertConcurrently},
	{name: "senders of the same keys in other orders do not deadlock", run: func(s *suite) {
		const keys, rounds = 8, 10
		s.must(concurrently(s.workers(), func(int) error {
			for range rounds {
				var rows []store.NewRow
				for _, k := range rand.Perm(keys) {
					rows = append(rows, row("o", fmt.Sprint(k), ""))
				}
				if err := s.inTx(func(tx *sql.Tx) error { return s.insert(tx, rows...) }); err != nil {
					return err
				}
			}
			return nil
		}))
		want := map[string]int{}
		for k := range keys {
			want[fmt.Sprintf("o/%d", k)] = s.workers() * rounds
		}
		s.checkKeys(want)
	}},
	{name: "an id that is there already is an error and not swallowed", run: func(s *suite) {
		first := row("o", "", "")
		s.send(first)
		if err := s.inTx(func(tx *sql.Tx) error { return s.insert(tx, row("o", "", ""), first) }); err == nil {
			s.Error("got no error, want one")
		}
		s.wantRowCount(1)
	}},
	{name: "rows are written in whatever isolation the caller's transaction has", run: func(s *suite) {
		for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
			tx, err := s.db.BeginTx(s.Context(), &sql.TxOptions{Isolation: level})
			s.must(err)
			s.must(s.insert(tx, row("o", "k", "")))
			s.must(s.insert(tx, row("o", "k", ""), row("o", "j", ""), row("o", "", "")))
			s.must(tx.Commit())
		}
		s.checkKeys(map[string]int{"o/k": 6, "o/j": 3})
	}},
}

// hostileKeys are distinct and each is a valid business mark.
var hostileKeys = []string{
	"a", "A", "a ", " a", "a  ", "á", "a\u0301", "ä", "ß", "ss", "SS", "i", "I", "ı", "İ", "\u00a0", " ",
	"'", "''", `"`, "`", `\`, `\\`, `\'`, `a\`, "; DROP TABLE qmessage; --", "/* */", "--", "#",
	"{}", "{a,b}", "{qmessage}", "NULL", "null", "[1]", `{"a":1}`, "%", "_", "?", "$1", ":a", "@a", "0", "00", "0x41", "1e0",
	"日本語", "한국어", "العربية", "🚚", "🚚 ", "👩‍👩‍👧‍👦", "\u200d", "\ufeff", "\uffff", "\U0010ffff",
	strings.Repeat("x", 255), strings.Repeat("x", 254) + "y", strings.Repeat("é", 255), strings.Repeat("🚚", 255),
}

func insertUnchanged(s *suite) {
	everyByte := make([]byte, 0, 1024)
	for i := range 256 {
		everyByte = append(everyByte, byte(i), byte(255-i), '\'', '\\')
	}
	bodies := [][]byte{everyByte, {}, {0}, []byte(`\x00`), []byte("'); --"), []byte("{text}"), []byte("日本語\r\n\t")}
	headers := []string{"", `{}`, `{"traceparent":"00-0af7-01"}`, `{"a":"quote \" backslash \\ brace } 日本語 🚚 ' $1 ?"}`}
	now := s.clock()
	write := func(send func(rows []store.NewRow)) {
		var rows []store.NewRow
		for i, key := range append([]string{""}, hostileKeys...) {
			r := row("dest.Ünï-"+fmt.Sprint(i%3), key, "")
			r.Body, r.Headers, r.Topic = bodies[i%len(bodies)], headers[i%len(headers)], i%2 == 1
			if i%5 == 0 {
				r.NotBefore = now + int64(i)
			}
			rows = append(rows, r)
		}
		send(rows)
		for _, want := range rows {
			got := s.find(want.ID)
			if got.Destination != want.Destination || got.Key != want.Key || got.Topic != want.Topic || got.NotBefore != want.NotBefore ||
				got.Headers != want.Headers || !slices.Equal(got.Body, want.Body) {
				s.Errorf("got %+v\nwant %+v", got, want)
			}
			if got.Status != store.Pending || got.Retry != 0 || got.Failures != 0 || got.LastError != "" {
				s.Errorf("got a new row %+v, want it pending and clean", got)
			}
			if got.Body == nil {
				s.Error("got a body that is nil, want it empty")
			}
		}
	}
	write(func(rows []store.NewRow) { s.send(rows...) })
	write(func(rows []store.NewRow) {
		for _, r := range rows {
			s.send(r)
		}
	})
}

func insertKeys(s *suite) {
	want := map[string]int{}
	var rows []store.NewRow
	for _, key := range hostileKeys {
		rows = append(rows, row("o", key, ""))
		want["o/"+key] = 2
	}
	s.send(rows...)
	for _, key := range hostileKeys {
		s.send(row("o", key, ""))
	}
	for _, destination := range []string{"O", "ö"} {
		s.send(row(destination, "a", ""))
		want[destination+"/a"] = 1
	}
	s.checkKeys(want)
}

// checkKeys compares the rows' numbers by destination and key with want, and each
// key's sequences with 1, 2, 3 ...; time stamps must rise with them.
func (s *suite) checkKeys(want map[string]int) {
	s.Helper()
	byKey := map[string][]store.Row{}
	for _, r := range s.all() {
		if r.Key != "" {
			name := r.Destination + "/" + r.Key
			byKey[name] = append(byKey[name], r)
		}
	}
	got := map[string]int{}
	for name, rows := range byKey {
		got[name] = len(rows)
		slices.SortFunc(rows, func(a, b store.Row) int { return int(a.Sequence - b.Sequence) })
		for i, r := range rows {
			if r.Sequence != int64(i)+1 {
				s.Errorf("key %q: got the sequence %d, want %d", name, r.Sequence, i+1)
			}
		}
		if stamps := field(rows, func(r store.Row) int64 { return r.TimeStamp }); !rising(stamps) {
			s.Errorf("key %q: got the time stamps %d, want them to rise with the sequence", name, stamps)
		}
	}
	if !reflect.DeepEqual(got, want) {
		s.Errorf("got the rows per key %v, want %v", got, want)
	}
}

func insertOwnStamps(s *suite) {
	own := func(key string, stamp int64) store.NewRow {
		r := row("o", key, "")
		r.TimeStamp = stamp
		return r
	}
	start := s.clock()
	s.send(own("k", 7))
	s.send(own("k", 5), own("k", 9), own("k", 8), own("", 3), own("j", 1))
	s.send(own("k", 6))
	far := start + time.Hour.Microseconds()
	// Own and given ones in one call: each in the order of the call.
	s.send(own("m", far), row("o", "m", ""), own("m", 4), row("o", "m", ""), row("o", "n", ""), own("n", far), row("o", "n", ""))
	got := map[string][]int64{}
	for _, r := range s.all() {
		got[r.Key] = append(got[r.Key], r.TimeStamp)
	}
	want := map[string][]int64{"k": {7, 5, 9, 8, 6}, "": {3}, "j": {1}, "m": {far, far + 1, 4, far + 2}, "n": {got["n"][0], far, far + 1}}
	if !reflect.DeepEqual(got, want) {
		s.Errorf("got the time stamps %v, want %v", got, want)
	}
	if first := got["n"][0]; first < start || first >= far {
		s.Errorf("got the time stamp %d before an own one, want the clock's", first)
	}
	s.send(own("v", far), own("v", 2))
	s.send(row("o", "v", ""))
	all := s.all()
	if last := all[len(all)-1]; last.TimeStamp != far+1 || last.Sequence != 3 {
		s.Errorf("after own time stamps %d and 2: got the next one %d with the sequence %d, want %d and 3", far, last.TimeStamp, last.Sequence, far+1)
	}
}

func insertConcurrently(s *suite) {
	const rounds = 25
	var mu sync.Mutex
	var committed []waybill.ID
	s.must(concurrently(s.workers(), func(worker int) error {
		for round := range rounds {
			undo := (worker+round)%4 == 0
			rows := []store.NewRow{row("o", "k", "")}
			if round%3 == 0 {
				rows = append(rows, row("o", "k", ""), row("p", fmt.Sprint(worker), ""))
			}
			err := s.inTxRetried(func(tx *sql.Tx) error {
				if err := s.insert(tx, rows...); err != nil {
					return err
				}
				if undo {
					return errUndo
				}
				// The key's row is locked from the bump to the commit, so this is
				// the order of commit.
				mu.Lock()
				defer mu.Unlock()
				for _, r := range rows {
					if r.Key == "k" {
						committed = append(committed, r.ID)
					}
				}
				return nil
			})
			if err != nil && !errors.Is(err, errUndo) {
				return err
			}
		}
		return nil
	}))
	all := slices.DeleteFunc(s.all(), func(r store.Row) bool { return r.Key != "k" })
	slices.SortFunc(all, func(a, b store.Row) int { return int(a.Sequence - b.Sequence) })
	if got := field(all, messageID); !slices.Equal(got, committed) {
		s.Error("got another order of the sequence than that of the commits, want one order")
	}
	for i, r := range all {
		if r.Sequence != int64(i)+1 {
			s.Fatalf("got the sequence %d, want %d", r.Sequence, i+1)
		}
	}
	if !rising(field(all, func(r store.Row) int64 { return r.TimeStamp })) {
		s.Error("got time stamps that do not rise with the sequence, want them to")
	}
}
