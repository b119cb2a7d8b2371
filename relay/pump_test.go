package relay

import (
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// steppedTerm is a term over a database whose lanes publish nothing by themselves and
// whose pump takes its steps when the test says so.
type steppedTerm struct {
	*term
	t     *testing.T
	db    *sql.DB
	loops []*loop
}

func openFile(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// openDatabase opens an SQLite file with the producer's tables.
func openDatabase(t *testing.T) *sql.DB {
	t.Helper()
	db := openFile(t, filepath.Join(t.TempDir(), "relay.db"))
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	return db
}

func execute(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func newSteppedTerm(t *testing.T, cursor int64, o Options) *steppedTerm {
	t.Helper()
	db := openDatabase(t)
	o.Producer, o.Logger = "waybill", slog.New(slog.DiscardHandler)
	r, err := New(db, sqlite.Dialect(), memory.New(nil), &o)
	if err != nil {
		t.Fatal(err)
	}
	clock, err := r.queue.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &steppedTerm{term: newTerm(r, identityOf(t, r), cursor, clock), t: t, db: db}
	s.loops = s.pump.loops()
	s.start = func(*lane) {}
	s.heldUntil += time.Hour.Microseconds() // rows up to the cursor were sent, though the test writes them now
	s.clock.run(true)
	return s
}

func identityOf(t *testing.T, r *Relay) string {
	t.Helper()
	identity, err := r.queue.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func (s *steppedTerm) exec(query string, args ...any) {
	s.t.Helper()
	execute(s.t, s.db, query, args...)
}

// insert writes n rows of so many bytes to "orders".
func (s *steppedTerm) insert(n, size int) {
	s.t.Helper()
	for range n {
		s.exec(`INSERT INTO qmessage (destination, message_content) VALUES ('orders', ?)`, make([]byte, size))
	}
}

// steps lets the pump look at everything once.
func (s *steppedTerm) steps() {
	s.t.Helper()
	for _, l := range s.loops {
		for _, k := range l.tasks {
			if _, err := k.run(s.t.Context()); err != nil {
				s.t.Fatalf("%s: %v", k.doing, err)
			}
		}
	}
}

// wait waits as the loops do together, and returns the new value of idle.
func (s *steppedTerm) wait(idle int) int { return s.waitUntil(idle, time.Now().Add(time.Hour)) }

// waitUntil is wait, but no longer than until end.
func (s *steppedTerm) waitUntil(idle int, end time.Time) int {
	longest := time.Until(end)
	for _, l := range s.loops {
		select {
		case <-l.woken:
			return 0
		case <-l.stirred:
			return idle
		default:
		}
		longest = min(longest, l.longestWait(idle))
	}
	time.Sleep(longest) // of the bubble's time
	return idle + 1
}

// publishes takes all that is queued, as a lane does whose broker confirms at once,
// and returns the rows.
func (s *steppedTerm) publishes() (rows []int64) {
	for _, l := range s.order {
		for batch := l.take(); len(batch) > 0; batch = l.take() {
			for _, x := range batch {
				x.f.state = waiting
				rows = append(rows, x.f.row)
			}
			l.noteWaiting(batch, l.t.connection)
		}
	}
	return rows
}

// makeOverdue makes everything that is with the broker overdue.
func (s *steppedTerm) makeOverdue() {
	for _, l := range s.order {
		for _, f := range l.window {
			if f.state == waiting {
				l.again = append(l.again, f)
			}
		}
		l.nextCheck = 0
	}
}

func TestAMessageThatIsPostponedBehindTheRelaysBackIsSentWhenItsTimeComes(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.insert(2, 1)
	s.steps()
	if rows := s.publishes(); len(rows) != 2 {
		t.Fatalf("sent rows %v, want two", rows)
	}
	// Another relay, or a person, has postponed one; then its copy would be due here.
	s.exec(`UPDATE qmessage SET not_before = 9000000000000000 WHERE id = 1`)
	s.makeOverdue()
	s.steps()
	if rows := s.publishes(); len(rows) != 1 || rows[0] != 2 {
		t.Fatalf("sent rows %v again, want row 2", rows)
	}
	s.exec(`UPDATE qmessage SET not_before = 1 WHERE id = 1`) // its time comes
	s.pump.nextDue, s.pump.due = time.Time{}, store.Place{}
	s.steps()
	if rows := s.publishes(); len(rows) != 1 || rows[0] != 1 {
		t.Errorf("sent rows %v, want row 1", rows)
	}
}

func TestARowThatWasMadeANewMessageIsSentAsThatOne(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.insert(1, 1)
	s.steps()
	s.publishes()
	// Another relay had it rejected, and somebody had it sent again: the row is due
	// under a new id, and its old id is still in the window here.
	s.exec(`UPDATE qmessage SET message_id = ?, not_before = 1`, waybill.NewID().String())
	s.pump.nextDue, s.pump.due = time.Time{}, store.Place{}
	s.steps()
	if rows := s.publishes(); len(rows) != 1 {
		t.Fatalf("sent rows %v, want one, of the new message", rows)
	}
	s.makeOverdue()
	for range 3 {
		s.steps()
		if rows := s.publishes(); len(rows) != 1 {
			t.Fatalf("sent rows %v again, want one, of the new message", rows)
		}
		s.makeOverdue()
	}
	if n := len(s.inflights); n != 1 {
		t.Errorf("got %d messages in the window, want the new one alone", n)
	}
}

func TestLargeMessagesAreReadAFewAtATime(t *testing.T) {
	const size, most = 100 << 10, 500 << 10
	s := newSteppedTerm(t, 0, Options{BatchBytes: most})
	s.insert(40, size)
	bounded := func(doing string) {
		t.Helper()
		if b := s.order[0].bytes; b > most+size {
			t.Fatalf("%s: %d bytes wait for the broker, want at most %d and one message more", doing, b, most)
		}
	}
	sent := map[int64]int{}
	for range 100 {
		s.steps()
		bounded("first copies")
		for _, row := range s.publishes() {
			sent[row]++
		}
	}
	s.makeOverdue()
	for range 100 {
		s.steps()
		bounded("copies")
		for _, row := range s.publishes() {
			sent[row]++
		}
	}
	for row := range int64(40) {
		if sent[row+1] != 2 {
			t.Errorf("sent row %d %d times, want twice", row+1, sent[row+1])
		}
	}
}

func TestADelayedRowThatIsCommittedLateIsFoundSoon(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.insert(2, 1)
	s.exec(`UPDATE qmessage SET not_before = 9000000000000000`)
	s.steps()
	due := func(id int64, ago time.Duration) {
		s.exec(`UPDATE qmessage SET not_before = (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) - ? WHERE id = ?`, ago.Microseconds(), id)
	}
	due(1, 0)
	s.pump.nextDue = time.Time{}
	s.steps()
	if rows := s.publishes(); len(rows) != 1 || rows[0] != 1 {
		t.Fatalf("sent rows %v, want row 1", rows)
	}
	due(2, 500*time.Millisecond) // it was due before, and its transaction ends now
	var rows []int64
	for deadline := time.Now().Add(5 * time.Second); len(rows) == 0 && time.Now().Before(deadline); {
		s.steps()
		rows = s.publishes()
	}
	if len(rows) != 1 || rows[0] != 2 {
		t.Errorf("sent rows %v, want row 2", rows)
	}
}

func TestARowThatWasDueLongBeforeItCameIsSentAtOnce(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.insert(1, 1)
	s.steps() // with the first sweep
	s.publishes()
	s.exec(`INSERT INTO qmessage (destination, message_content, not_before) VALUES ('orders', x'00', 1)`)
	s.steps()
	if rows := s.publishes(); len(rows) != 1 || rows[0] != 2 {
		t.Errorf("sent rows %v, want row 2", rows)
	}
}

func TestASuccessorSendsAgainWhatNobodyWillConfirm(t *testing.T) {
	for _, c := range []struct {
		confirm waybill.Confirmation
		want    int // of 50 rows, of which the last holder has sent 30
	}{{waybill.Consumed, 20}, {waybill.Accepted, 50}} {
		t.Run(c.confirm.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSteppedTerm(t, 30, Options{Default: Destination{Confirm: c.confirm}})
				s.insert(50, 1)
				var rows []int64
				for range 5 {
					s.steps()
					rows = append(rows, s.publishes()...)
				}
				if len(rows) != c.want {
					t.Errorf("sent %d of 50 rows, want %d", len(rows), c.want)
				}
			})
		})
	}
}

func TestASuccessorSendsAtOnceWhatCameWhenNobodyLed(t *testing.T) {
	s := newSteppedTerm(t, 300, Options{})
	s.heldUntil = s.began - time.Minute.Microseconds()
	s.insert(20, 1) // ids have gone back, to below the cursor
	s.exec(`UPDATE qmessage SET message_id = ? WHERE id = 1`, waybill.NewIDAt(time.UnixMicro(s.heldUntil).Add(-time.Second)).String())
	s.steps()
	if rows := s.publishes(); len(rows) != 19 || rows[0] != 2 {
		t.Errorf("sent rows %v, want 2 to 20", rows)
	}
	if n := len(s.inflights); n != 20 {
		t.Errorf("got %d messages in the window, want 20", n)
	}
}

func TestASuccessorDoesNotWaitForWhatWasConfirmedWhileItRead(t *testing.T) {
	s := newSteppedTerm(t, 30, Options{})
	s.insert(30, 1)
	rows, err := s.r.queue.Sweep(t.Context(), 0, 30, 100)
	if err != nil {
		t.Fatal(err)
	}
	// Receipts for the last holder's messages come before the successor has taken the
	// rows into its window.
	done := make([]waybill.Receipt, 0, 20)
	for _, r := range rows[:20] {
		done = append(done, waybill.Receipt{ID: r.MessageID, Outcome: waybill.Done})
	}
	receipts := wire.EncodeReceipts(waybill.ReceiptQueue("waybill", s.identity), "test", done)
	s.handle(t.Context(), []broker.Delivery{{Message: receipts}})
	if err := s.pump.adopt(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	if n := len(s.inflights); n != 10 {
		t.Errorf("got %d messages in the window, want the 10 that are not confirmed", n)
	}
	s.steps()
	if s.overtaken != nil {
		t.Error("the receipts are still remembered after the first sweep")
	}
}

func TestRowsThatVanishDoNotHoldUpTheOthersCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteppedTerm(t, 0, Options{})
		s.insert(200, 1)
		s.steps()
		s.publishes()
		// Another relay, or a person, removes all but the oldest, and the broker has
		// lost that one: a probe takes the newest first.
		s.exec(`DELETE FROM qmessage WHERE id > 1`)
		began := time.Now()
		for time.Since(began) < time.Minute {
			s.steps()
			if rows := s.publishes(); len(rows) > 0 {
				if took := time.Since(began); took > 10*time.Second || rows[0] != 1 {
					t.Errorf("sent row %d again after %v, want row 1 within 10s", rows[0], took)
				}
				return
			}
			s.wait(0)
		}
		t.Errorf("sent nothing again; %d messages are in the window", len(s.inflights))
	})
}

func TestARowThatCommitsBelowTheFirstOneIsLookedFor(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.exec(`INSERT INTO qmessage (id, destination, message_content) VALUES (5, 'orders', x'00')`)
	s.steps()
	s.publishes()
	if all := s.pump.gaps.short.all(); len(all) != 1 || all[0].first != 1 || all[0].last != 4 {
		t.Errorf("looks for %+v, want the ids 1 to 4", all)
	}
}

func TestASlowSweepIsRareThoughRowsMayHaveBeenMissed(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	s.insert(1, 1)
	s.steps()
	sweeps := func(ago, took time.Duration) bool {
		now := time.Now()
		s.pump.sweepTo, s.pump.gaps.missed = 0, true
		s.pump.sweepBegan, s.pump.sweepTook, s.pump.nextSweep = now.Add(-ago), took, now.Add(time.Hour)
		s.steps()
		return s.pump.sweepBegan.After(now)
	}
	if !sweeps(10*time.Second, 100*time.Millisecond) {
		t.Error("no sweep although something was missed")
	}
	if sweeps(10*time.Second, 10*time.Second) {
		t.Error("a sweep that takes 10 s begins again after 10 s")
	}
}

func TestALaneThatIsIdleForLongIsGivenUp(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	for i := range 10 {
		s.exec(`INSERT INTO qmessage (destination, message_content) VALUES (?, x'00')`, fmt.Sprintf("reply.%d", i))
	}
	s.steps()
	if rows := s.publishes(); len(rows) != 10 {
		t.Fatalf("sent rows %v, want ten", rows)
	}
	s.retire(time.Now().Add(2 * idleLane))
	if len(s.lanes) != 10 {
		t.Fatalf("got %d lanes, want the 10 that wait for confirmations", len(s.lanes))
	}
	for id := range s.inflights {
		s.forget(id)
	}
	s.retire(time.Now())
	if len(s.lanes) != 10 {
		t.Fatalf("got %d lanes, want the 10 that were busy a moment ago", len(s.lanes))
	}
	l, ended := s.order[0], make(chan struct{})
	go func() {
		defer close(ended)
		l.run(t.Context(), t.Context())
	}()
	s.retire(time.Now().Add(2 * idleLane))
	if len(s.lanes) != 0 || len(s.order) != 0 {
		t.Errorf("got %d lanes, want none", len(s.lanes))
	}
	<-ended
}

func TestTheDatabaseIsLeftAloneWhileThereIsNothingToDo(t *testing.T) {
	b := newSteppedLane(t, Options{Poll: time.Minute})
	b.t.pump.t = b.t
	b.t.clock.run(true)
	b.sends(1)
	if got := b.t.pump.untilNextLook(10_000); got != time.Minute {
		t.Errorf("the next look at the table comes after %v, want Poll, 1m0s", got)
	}
	b.nextCheck = time.Hour
	if got := b.t.pump.untilOverdue(0); got > longestStep {
		t.Errorf("the next look at the clock comes after %v, want %v at most: the clock of time-outs loses the rest", got, longestStep)
	}
	b.nextCheck, b.bytes = 0, 1<<30 // the broker does not take the queue
	if got := b.t.pump.untilOverdue(0); got < longestStep/2 {
		t.Errorf("the next look at a lane that has enough queued comes after %v, want %v", got, longestStep/2)
	}
}

func TestARowThatNobodyTellsOfWaitsForAShareOfTheSilenceBeforeIt(t *testing.T) {
	p := &pump{t: newSteppedLane(t, Options{Poll: 500 * time.Millisecond}).t}
	looks := map[time.Duration]int{} // by the silence
	for idle, silence := 0, time.Duration(0); silence < 20*time.Second; idle++ {
		pause := p.untilNextLook(idle)
		if most := max(leastPause, silence/(silenceShare-1)); pause > most {
			t.Errorf("after a silence of %v the next look comes after %v, want %v at most", silence, pause, most)
		}
		silence += pause
		for _, limit := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second} {
			if silence <= limit {
				looks[limit]++
			}
		}
		if silence > 11*time.Second && pause != 500*time.Millisecond {
			t.Errorf("after a silence of %v the next look comes after %v, want Poll", silence, pause)
		}
	}
	for limit, most := range map[time.Duration]int{100 * time.Millisecond: 20, time.Second: 70, 10 * time.Second: 120} {
		if looks[limit] > most {
			t.Errorf("%d looks in a silence of %v, want %d at most", looks[limit], limit, most)
		}
	}
}

func TestTheNextLookComesSoonerWhereNobodyTold(t *testing.T) {
	told, untold := &pump{t: newSteppedLane(t, Options{}).t}, &pump{t: newSteppedLane(t, Options{}).t, untold: true}
	for interval, most := range map[time.Duration]time.Duration{10 * time.Millisecond: 1100 * time.Microsecond, 100 * time.Millisecond: 2 * time.Millisecond} {
		before, looksBefore := told.typicalWait(interval)
		after, looks := untold.typicalWait(interval)
		t.Logf("rows every %v: p50 %v with %.1f looks each where somebody told, %v with %.1f where nobody did", interval, before, looksBefore, after, looks)
		if after > most || after >= before {
			t.Errorf("rows every %v wait for %v, want %v at most, and less than %v", interval, after, most, before)
		}
	}
}

func TestALoopKnowsWhetherSomebodyToldIt(t *testing.T) {
	woken := make(chan struct{}, 1)
	l := &loop{tasks: []*task{newTask("do nothing", 0, nil)}, pause: func(int) time.Duration { return time.Millisecond }, woken: woken}
	woken <- struct{}{}
	if idle := l.wait(t.Context(), 7); idle != 0 || !l.told {
		t.Errorf("woken: got idle %d and told %v, want 0 and true", idle, l.told)
	}
	if idle := l.wait(t.Context(), 7); idle != 8 || l.told {
		t.Errorf("after a pause: got idle %d and told %v, want 8 and false", idle, l.told)
	}
}

// typicalWait is how long half of the rows wait that come by chance, at a mean interval, until
// a look at the table that takes no time; and how many looks there are for each of them.
func (p *pump) typicalWait(interval time.Duration) (p50 time.Duration, looks float64) {
	random := rand.New(rand.NewPCG(1, 2))
	var waits []time.Duration
	now, idle, n := time.Duration(0), 0, 0
	next := time.Duration(random.ExpFloat64() * float64(interval))
	for len(waits) < 10_000 {
		now += p.untilNextLook(idle)
		idle++
		n++
		for ; next <= now; next += time.Duration(random.ExpFloat64() * float64(interval)) {
			waits, idle = append(waits, now-next), 0
		}
	}
	slices.Sort(waits)
	return waits[len(waits)/2], float64(n) / float64(len(waits))
}

// commits writes n rows to a destination in one transaction: with this id and those after
// it, or with those that the table gives where it is 0. It returns the id of the last.
// Their message ids are of now by the pump's clock, which synctest may have set forward.
func (s *steppedTerm) commits(destination string, id int64, n int) int64 {
	s.t.Helper()
	tx, err := s.db.Begin()
	if err != nil {
		s.t.Fatal(err)
	}
	defer tx.Rollback()
	for i := range int64(n) {
		var row any
		if id > 0 {
			row = id + i
		}
		result, err := tx.Exec(`INSERT INTO qmessage (id, message_id, destination, message_content) VALUES (?, ?, ?, x'00')`,
			row, waybill.NewIDAt(time.UnixMicro(s.pump.databaseNow())).String(), destination)
		if err != nil {
			s.t.Fatal(err)
		}
		if i == int64(n)-1 {
			id, _ = result.LastInsertId()
		}
	}
	if err := tx.Commit(); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// finds lets the pump look until n more rows were sent, and returns how long that took.
func (s *steppedTerm) finds(n int, within time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	for sent := 0; sent < n; {
		s.steps()
		sent += len(s.publishes())
		if took := time.Since(began); took > within {
			s.t.Fatalf("found %d rows in %v, want %d", sent, took, n)
		}
		if sent < n {
			s.wait(0)
		}
	}
	return time.Since(began)
}

// settled is a term that has come to the end of its table, and rests.
func settled(t *testing.T, o Options) *steppedTerm {
	o.Sweep = time.Hour
	s := newSteppedTerm(t, 0, o)
	s.commits("orders", 0, 300)
	s.finds(300, time.Second)
	s.exec(`DELETE FROM qmessage`)
	for id := range s.inflights {
		s.forget(id)
	}
	for range 50 {
		s.steps()
		s.wait(0)
	}
	return s
}

func TestNoMessageWaitsForASweepWhereIdsGoBack(t *testing.T) {
	for _, c := range []struct {
		name string
		back func(*steppedTerm)
	}{
		{"to the beginning", func(s *steppedTerm) { s.exec(`DELETE FROM sqlite_sequence`) }},
		{"to somewhere", func(s *steppedTerm) { s.exec(`UPDATE sqlite_sequence SET seq = 120`) }},
		{"while rows are left below", func(s *steppedTerm) {
			s.exec(`INSERT INTO qmessage (id, destination, message_content, status) VALUES (50, 'orders', x'00', 2)`)
			s.exec(`UPDATE sqlite_sequence SET seq = 120`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := settled(t, Options{})
				c.back(s)
				for range 5 {
					s.commits("orders", 0, 1)
					if took := s.finds(1, time.Hour); took > 2*newestEvery {
						t.Errorf("a message took %v, want %v at most", took, 2*newestEvery)
					}
				}
				s.commits("orders", 0, 1000)
				s.finds(1000, time.Second)
				if s.cursor > 1200 {
					t.Errorf("the cursor is %d, want it where the new rows are", s.cursor)
				}
				if s.r.counters.swept.Load() > 0 {
					t.Error("a sweep has found something")
				}
			})
		})
	}
}

func TestOneSlowLookPutsOffTheNextByNothing(t *testing.T) {
	var n newest
	now := time.Now()
	for i, look := range []struct{ took, want time.Duration }{
		{time.Millisecond, newestEvery},
		{10 * time.Second, newestEvery}, // it has waited for a lock
		{time.Millisecond, newestEvery},
		{10 * time.Millisecond, newestEvery},
		{20 * time.Millisecond, 500 * time.Millisecond}, // looks take that long
		{10 * time.Second, time.Second},
		{10 * time.Second, newestMost},
	} {
		if rest := n.rest(now, look.took, newestEvery, false); rest != look.want {
			t.Errorf("look %d: %v to the next, want %v", i, rest, look.want)
		}
	}
	n.found = now
	if rest := n.rest(now, time.Millisecond, newestEvery, false); rest != newestSoon+alertShare*time.Millisecond {
		t.Errorf("%v to the next look after one that has found something", rest)
	}
}

func TestNoMessageWaitsForASweepWhereASessionHasABlockOfIds(t *testing.T) {
	for _, backlog := range []bool{false, true} {
		t.Run(fmt.Sprint("with a backlog ", backlog), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := settled(t, Options{Destinations: map[string]Destination{"stuck": {Window: 1}}})
				low, high := int64(1_000), int64(900_000)
				send := func(id *int64) { *id = s.commits("orders", *id+1, 1) }
				send(&high)
				s.finds(1, time.Second)
				if backlog { // of a destination whose consumer is away
					high = s.commits("stuck", high+1, 1000)
					s.finds(1, time.Second)
				}
				for _, idle := range []time.Duration{0, time.Second, 20 * time.Second, time.Minute} {
					for began := time.Now(); time.Since(began) < idle; {
						s.steps()
						s.publishes()
						s.wait(100)
					}
					for _, id := range []*int64{&low, &high, &low, &low, &high} {
						send(id)
						if took := s.finds(1, time.Hour); took > 2*newestEvery {
							t.Errorf("after %v: row %d took %v, want %v at most", idle, *id, took, 2*newestEvery)
						}
					}
				}
			})
		})
	}
}

func TestManyMessagesOfALateTransactionAreFoundAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settled(t, Options{Window: 20_000})
		s.exec(`UPDATE sqlite_sequence SET seq = seq + 5000`)
		s.commits("orders", 0, 1)
		s.finds(1, time.Second)
		time.Sleep(100 * time.Millisecond)
		s.commits("orders", 301, 5000)
		if took := s.finds(5000, time.Hour); took > time.Second {
			t.Errorf("it took %v, want 1s at most", took)
		}
		if s.r.counters.swept.Load() > 0 {
			t.Error("a sweep has found something")
		}
	})
}

func TestRowsOfADestinationWhoseConsumerIsAwayArePassedBy(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{
		Destinations: map[string]Destination{"stuck": {Window: 10}},
		MinResend:    time.Hour, FirstResend: time.Hour, MaxResend: time.Hour,
	})
	const rows = 20_000
	s.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO qmessage (id, destination, message_content) SELECT i, CASE WHEN i % 20 = 0 THEN 'orders' ELSE 'stuck' END, x'00' FROM n WHERE i <> 7777`, rows)
	sent := map[int64]int{}
	steps := 0
	for ; s.cursor < rows; steps++ {
		s.steps()
		for _, row := range s.publishes() {
			sent[row]++
		}
		if steps > rows {
			t.Fatal("the cursor does not come to the end")
		}
	}
	if steps > 15 {
		t.Errorf("it took %d steps to pass %d rows by, want 15 at most", steps, rows)
	}
	s.exec(`INSERT INTO qmessage (id, destination, message_content) VALUES (7777, 'orders', x'00')`) // a late transaction
	for deadline := time.Now().Add(5 * time.Second); sent[7777] == 0 && time.Now().Before(deadline); {
		s.steps()
		for _, row := range s.publishes() {
			sent[row]++
		}
	}
	for row := int64(20); row <= rows; row += 20 {
		if sent[row] != 1 {
			t.Fatalf("sent row %d %d times, want once", row, sent[row])
		}
	}
	if sent[7777] != 1 || len(sent) != rows/20+1+10 {
		t.Errorf("sent row 7777 %d times and %d rows in all, want once and %d", sent[7777], len(sent), rows/20+11)
	}
	// The window grows: the rest is found.
	for _, l := range s.order {
		l.o.Window = rows
	}
	for began := time.Now(); len(sent) < rows; {
		s.steps()
		for _, row := range s.publishes() {
			sent[row]++
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("sent %d rows, want %d", len(sent), rows)
		}
	}
}
