package relay

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// blocked is a connection to a broker that takes nothing from those who publish.
type blocked struct{ broker.Conn }

func (blocked) Publish(ctx context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	<-ctx.Done()
	results := make([]broker.Result, len(messages))
	for i := range results {
		results[i].Err = ctx.Err()
	}
	return results, nil
}

func TestABrokerThatTakesNothingIsSaidToBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, 0, Options{})
		var log strings.Builder
		s.r.log = slog.New(slog.NewTextHandler(&log, nil))
		s.insert(2, 1)
		s.steps()
		lane := s.order[0]
		began := time.Now()
		refused, _ := lane.send(t.Context(), blocked{}, lane.take())
		if took := time.Since(began); !refused || took != publishTimeout {
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
