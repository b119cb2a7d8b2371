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
		s := newStill(t, 0, Options{})
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
			t.Errorf("refused: %v, after %v", refused, took)
		}
		if len(lane.window) != 2 || !strings.Contains(lane.lastError, "out of disk or memory") {
			t.Errorf("%d messages are waited for, and the reason is %q", len(lane.window), lane.lastError)
		}
		if n := strings.Count(log.String(), lane.lastError); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
	})
}
