package relay

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// insertOld writes a row to "orders" that was sent so long ago, and returns its id.
func insertOld(t *testing.T, db *sql.DB, clock int64, ago time.Duration) waybill.ID {
	t.Helper()
	id := waybill.NewIDAt(time.UnixMicro(clock).Add(-ago))
	execute(t, db, `INSERT INTO qmessage (message_id, destination, time_stamp, message_content) VALUES (?, 'orders', 1, x'00')`, id.String())
	return id
}

// floorNow looks for the floor, and returns it.
func (s *steppedTerm) floorNow() string {
	s.t.Helper()
	s.pump.nextFloor = time.Time{}
	if _, err := s.pump.readFloor(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return *s.floor.Load()
}

func (s *steppedTerm) readsRejections() {
	s.t.Helper()
	s.pump.nextRejections = time.Time{}
	if _, err := s.pump.readRejections(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *steppedTerm) wantFloor(what string, held bool, id waybill.ID) {
	s.t.Helper()
	if got, at := s.floorNow(), waybill.LowestID(id.Time()).String(); (got == at) != held {
		s.t.Errorf("%s: got the floor %s, want it held at %s: %v", what, got, at, held)
	}
}

func TestAMessageThatIsRejectedLongAfterItWasSentHoldsTheFloor(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *steppedTerm) {
		s.readsRejections()
		id := insertOld(t, s.db, s.pump.databaseNow(), 80*time.Hour)
		s.wantFloor("pending", true, id)
		s.reject(t.Context(), id, "a bug in the handler")
		s.wantNumber("rejected rows", 1, countRows+` WHERE status = 2 AND not_before > 0`)
		s.wantFloor("rejected", true, id)
		s.reject(t.Context(), id, "the receipt comes again")
		s.readsRejections()
		s.wantFloor("and read again", true, id)

		next := s.successor()
		none := *next.floor.Load()
		if got := next.floorNow(); got != none {
			t.Errorf("before it knows what was rejected, a successor tells the floor %s, want %s", got, none)
		}
		next.readsRejections()
		next.wantFloor("at a successor", true, id)

		if _, err := s.r.queue.ResendSeen(t.Context(), id, int64(s.number(`SELECT not_before FROM qmessage`))); err != nil {
			t.Fatal(err)
		}
		next.wantFloor("sent again", true, id)
		next.remove(t.Context(), []waybill.ID{id})
		next.readsRejections()
		next.wantFloor("done", false, id)
	})
}

func TestARejectedMessageHoldsTheFloorForItsTime(t *testing.T) {
	for _, c := range []struct {
		name     string
		hold     time.Duration
		ago      time.Duration // since it was sent
		rejected time.Duration // ago; below 0: it is not known when
		held     bool
	}{
		{"rejected at once, lately", 0, 71 * time.Hour, 71 * time.Hour, true},
		{"rejected at once, long ago", 0, 74 * time.Hour, 74 * time.Hour, false},
		{"rejected late, lately", 0, 1000 * time.Hour, 71 * time.Hour, true},
		{"rejected late, long ago", 0, 1000 * time.Hour, 74 * time.Hour, false},
		{"sent lately and rejected by an older program", 0, 71 * time.Hour, -1, true},
		{"sent long ago and rejected by an older program", 0, 74 * time.Hour, -1, false},
		{"for another time", time.Minute, 80 * time.Hour, 50 * time.Second, true},
		{"for another time that is over", time.Minute, 80 * time.Hour, 62 * time.Second, false},
		{"not at all", -1, 80 * time.Hour, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Options{RejectedHold: c.hold}, func(t *testing.T, s *steppedTerm) {
				id := insertOld(t, s.db, s.pump.databaseNow(), c.ago)
				at := s.pump.databaseNow() - c.rejected.Microseconds()
				if c.rejected < 0 {
					at = 0
				}
				s.exec(`UPDATE qmessage SET status = 2, not_before = ?`, at)
				s.readsRejections()
				s.wantFloor("read", c.held, id)
			})
		})
	}
}

func TestRejectionsHoldTheFloorWhileTheTableIsRead(t *testing.T) {
	const hour = int64(time.Hour / time.Microsecond)
	ids := make([]waybill.ID, 6) // in order
	for i := range ids {
		ids[i] = waybill.NewIDAt(time.UnixMilli(int64(1000 * (i + 1))))
	}
	r := newRejections(72 * time.Hour)
	want := func(what string, from int64, id waybill.ID) {
		t.Helper()
		if got, known := r.lowest(from); got != id || !known {
			t.Errorf("%s: got %v, known %v, want %v", what, got, known, id)
		}
	}
	r.begin(ids[3])
	r.end(ids[3], 100*hour, true)
	if _, known := r.lowest(0); known {
		t.Error("it is known before the table was read")
	}
	r.reading()
	r.begin(ids[5])
	r.end(ids[5], 102*hour, true)
	r.begin(ids[2])
	r.read([]store.Rejection{{At: 100*hour + 7, Lowest: ids[3]}, {At: 101 * hour, Lowest: ids[4]}})
	want("being rejected", 0, ids[2])
	r.end(ids[2], 102*hour, false)
	want("not rejected after all", 0, ids[3])
	want("in the same hour", 100*hour+hour/2, ids[3])
	want("later", 101*hour, ids[4])
	want("what came while the table was read", 102*hour, ids[5])
	r.reading()
	r.read(nil)
	want("nothing is rejected any more", 0, waybill.ID{})
	r.begin(ids[1])
	r.begin(ids[1])
	r.end(ids[1], 103*hour, false)
	want("rejected twice at a time", 0, ids[1])
	r.reading()
	r.end(ids[1], 103*hour, true)
	r.read(nil)
	want("rejected while the table was read", 0, ids[1])
}

// uncertain is a dialect whose rejections fail once they have been made.
type uncertain struct {
	store.Dialect
	queue func() *store.Queue
	fail  *bool
}

func (d uncertain) Reject(n store.Names, id waybill.ID, reason string) store.Statement {
	if *d.fail {
		*d.fail = false
		if _, err := d.queue().Reject(context.Background(), id, reason); err != nil {
			panic(err)
		}
		return store.Statement{SQL: `SELECT nothing FROM nowhere`}
	}
	return d.Dialect.Reject(n, id, reason)
}

func TestARejectionOfWhichTheAnswerIsLostHoldsTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, fail := openDatabase(t), false
		var r *Relay
		r, err := New(db, uncertain{sqlite.Dialect(), func() *store.Queue { return r.queue }, &fail}, memory.New(nil), &Options{Producer: "waybill", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		clock, err := r.queue.Clock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := &steppedTerm{term: newTerm(r, identityOf(t, r), 0, clock), t: t, db: db}
		s.readsRejections()
		id := insertOld(t, db, clock, 80*time.Hour)
		fail = true
		s.reject(t.Context(), id, "no")
		s.wantNumber("rejected rows", 1, countRows+` WHERE status = 2`)
		s.wantFloor("rejected by the first of two tries", true, id)
	})
}

func TestManyRejectedRowsAreReadOnceAndSeldomAgain(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *steppedTerm) {
		s.exec(fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
			INSERT INTO qmessage (destination, message_content, status, not_before) SELECT 'orders', x'00', 2, %d - i * 360000000 FROM n`, s.pump.databaseNow()))
		found, err := s.r.queue.Rejections(t.Context(), s.pump.databaseNow()-72*time.Hour.Microseconds(), s.pump.databaseNow(), s.rejections.width)
		if err != nil || len(found) < 72 || len(found) > 73 {
			t.Fatalf("got %d parts (%v), want one an hour", len(found), err)
		}
		var reads []time.Duration
		for began := time.Now(); time.Since(began) < 6*time.Hour; {
			if _, err := s.pump.readRejections(t.Context()); err != nil {
				t.Fatal(err)
			}
			reads = append(reads, time.Since(began))
			time.Sleep(time.Until(s.pump.nextRejections)) // of the bubble's time
		}
		if len(reads) < 10 || len(reads) > 15 || !slices.IsSortedFunc(reads, func(a, b time.Duration) int { return int(a - b) }) || reads[1] > time.Minute {
			t.Errorf("got readings after %v, want the first ones soon and then one an hour", reads)
		}
	})
}

func TestARelayTellsAFloorOnceItKnowsWhatWasRejected(t *testing.T) {
	db, b := openDatabase(t), memory.New(nil)
	r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	patience.Until(t, "a floor is told", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.term != nil && *r.term.floor.Load() != waybill.LowestID(time.UnixMilli(0)).String()
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
