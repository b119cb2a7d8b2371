package relay

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/publish"
)

func TestABrokerThatTakesNothingIsSaidToBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteppedTerm(t, 0, Options{})
		var log strings.Builder
		s.r.log = slog.New(slog.NewTextHandler(&log, nil))
		s.insert(2, 1)
		s.steps()
		lane := s.order[0]
		began := time.Now()
		blocking := memory.New(nil)
		conn, err := blocking.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		blocking.Hold()
		refused, _ := lane.send(t.Context(), conn, lane.take())
		if took := time.Since(began); !refused || took != publish.Timeout {
			t.Errorf("got refused %v after %v, want true after %v", refused, took, publish.Timeout)
		}
		if len(lane.window) != 2 || !strings.Contains(lane.lastError, "out of disk or memory") {
			t.Errorf("got %d messages in the window and the reason %q; want 2, and one that tells of disk or memory", len(lane.window), lane.lastError)
		}
		if n := strings.Count(log.String(), lane.lastError); n != 1 {
			t.Errorf("logged the reason %d times, want once:\n%s", n, log.String())
		}
	})
}
