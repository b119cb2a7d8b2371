package relay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store/sqlite"
)

// logged is a log that a test reads while others write.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// wantWhy wants one reason, in Stats and noted for others, with a text in it; "" for none.
func wantWhy(t *testing.T, r *Relay, destination, text string, since time.Time) {
	t.Helper()
	synctest.Wait()
	told := r.Stats().Waits
	noted, err := r.queue.Waits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text == "" {
		if len(told) != 0 || len(noted) != 0 {
			t.Errorf("got %+v, noted %+v, want nothing that waits", told, noted)
		}
		return
	}
	if len(told) != 1 || len(noted) != 1 {
		t.Fatalf("got %+v, noted %+v, want one reason", told, noted)
	}
	if w := told[0]; w.Destination != destination || !strings.Contains(w.Why, text) || w.Since.Sub(since).Abs() > 2*time.Second {
		t.Errorf("got %+v, want %q since %v", w, text, since)
	}
	// The database's clock is not the bubble's.
	if w := noted[0]; w.Destination != destination || !strings.Contains(w.Why, text) || (w.Since-time.Since(since)).Abs() > whyAgain+whyEvery+2*time.Second {
		t.Errorf("noted %+v, want %q for %v", w, text, time.Since(since))
	}
}

func TestWhyMessagesWaitIsToldOnceAndNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openDatabase(t)
		b := memory.New(nil)
		log := &logged{}
		r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		queue := waybill.ReceiptQueue("waybill", identityOf(t, r))
		clock, err := r.queue.Clock(t.Context()) // the bubble's is years behind
		if err != nil {
			t.Fatal(err)
		}
		id := waybill.NewIDAt(time.UnixMicro(clock))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Second)
		execute(t, db, `INSERT INTO qmessage (message_id, destination, message_content) VALUES (?, 'orders', x'00')`, id.String())
		sent := time.Now()
		r.Wake()
		time.Sleep(3 * time.Second)
		wantWhy(t, r, "", "", sent) // it is on its way
		time.Sleep(3 * time.Minute)
		wantWhy(t, r, "orders", noReceipts, sent)
		if n := log.count("messages wait"); n != 1 {
			t.Errorf("told it %d times in three minutes, want once", n)
		}

		b.Down()
		away := time.Now()
		time.Sleep(time.Minute)
		wantWhy(t, r, "", "there is no connection to the broker", away)
		b.Up()
		back := time.Now()
		time.Sleep(time.Minute)
		wantWhy(t, r, "orders", noReceipts, sent)
		if log.count("connected to the broker\"") != 1 || log.count("connected to the broker again") != 1 {
			t.Errorf("got the log\n%swant that it is connected, and then again", log.text.String())
		}

		confirm(t, b, queue, id)
		time.Sleep(2 * whyEvery)
		wantWhy(t, r, "", "", back)
		if n := log.count("messages do not wait any more"); n != 1 {
			t.Errorf("told %d times that it is over, want once:\n%s", n, log.text.String())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestARelayThatStandsBySaysSoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openDatabase(t)
		log := &logged{}
		r, err := New(db, sqlite.Dialect(), memory.New(nil), &Options{Producer: "waybill", Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.queue.AcquireLease(t.Context(), leaseName, "another/1/X", time.Hour); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Minute)
		if n := log.count("relay stands by; another one leads"); n != 1 || log.count("another/1/X") != 1 {
			t.Errorf("told it %d times, want once, with who leads:\n%s", n, log.text.String())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatHasWaitedForLongIsLookedAtLessOftenWhereNotesStandForLong(t *testing.T) {
	now := time.Now()
	waits := func(ages ...time.Duration) (all []Wait) {
		for _, age := range ages {
			all = append(all, Wait{Since: now.Add(-age)})
		}
		return all
	}
	for _, c := range []struct {
		lease time.Duration
		waits []Wait
		want  time.Duration
	}{
		{15 * time.Second, waits(time.Hour), 5 * time.Second}, // notes stand for a minute
		{time.Hour, waits(), 5 * time.Second},
		{time.Hour, waits(time.Hour, 20*time.Second), 5 * time.Second},
		{time.Hour, waits(200*time.Second, time.Hour), 20 * time.Second},
		{time.Hour, waits(24 * time.Hour), time.Minute},
	} {
		r := &Relay{o: Options{Lease: c.lease, FirstResend: 5 * time.Second}}
		if got := r.whyPause(c.waits, now); got != c.want {
			t.Errorf("with a lease of %v and %+v: got %v, want %v", c.lease, c.waits, got, c.want)
		}
	}
}
