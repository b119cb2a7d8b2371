package inbox

import (
	"context"
	"errors"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// Messages of foreign producers carry no receipt address, and neither do those of
// destinations that are set to Accepted. After a failure they go back to the broker, or to
// their worker where the broker cannot take messages back. Their tries are counted here, in
// memory: after a restart of this process they are tried some more.

// maxForeign is how many messages' tries are counted at least: of those that were tried
// last.
const maxForeign = 10_000

// countForeign counts a try that has failed and returns how many there have been.
func (r *route) countForeign(id waybill.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	tries, _ := r.tries.Get(id)
	r.tries.Set(id, tries+1)
	return tries + 1
}

// forgetForeign drops the count of a message that does not come again.
func (r *route) forgetForeign(id waybill.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries.Delete(id)
}

// requeue gives a message back after a while, without holding up its worker.
func (o *outcomes) requeue(ctx context.Context, x *item, tries int) {
	x.noted = true
	x.receiver.parked.Add(1)
	delay := backoff.Jittered(backoff.Doubled(100*time.Millisecond, tries-1, time.Minute))
	time.AfterFunc(delay, func() { o.r.giveBack(ctx, x) })
}

// giveBack gives a message to the broker to deliver again, or to its worker.
func (r *route) giveBack(ctx context.Context, x *item) {
	x.receiver.parked.Add(-1)
	if x.isGone() {
		return
	}
	crash.Point("inbox.requeue.before")
	err := x.receiver.Settle(ctx, []broker.Delivery{x.delivery}, broker.Requeue)
	crash.Point("inbox.requeue.after")
	switch {
	case err == nil || errors.Is(err, broker.ErrClosed):
	case errors.Is(err, errors.ErrUnsupported):
		again := *x
		again.noted = false
		r.workerOf(&again.Message).put(&again)
	default:
		r.in.log.DebugContext(ctx, "message not requeued; the broker delivers it again", slog.Any("error", err))
	}
}
