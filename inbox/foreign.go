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

// Messages of foreign producers carry no receipt address. Their failures use the
// broker's own redelivery, and are counted here, in memory: after a restart of this
// process they are tried some more.

// maxForeign bounds the messages whose failures are counted at a time.
const maxForeign = 10_000

// countForeign counts a failure and returns how many there have been.
func (r *route) countForeign(id waybill.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failed) >= maxForeign {
		clear(r.failed)
	}
	r.failed[id]++
	return r.failed[id]
}

func (r *route) forgetForeign(id waybill.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failed, id)
}

// requeue gives a message back to the broker after a while, without holding up its
// worker. Where the broker cannot do that, the message goes back to the worker.
func (o *outcomes) requeue(ctx context.Context, x *item, tries int) {
	r := o.r
	x.noted = true
	delay := backoff.Jittered(backoff.Doubled(100*time.Millisecond, tries-1, time.Minute))
	time.AfterFunc(delay, func() {
		if x.isGone() {
			return
		}
		crash.Point("inbox.requeue.before")
		err := x.receiver.Settle(ctx, []broker.Delivery{x.delivery}, broker.Requeue)
		crash.Point("inbox.requeue.after")
		if errors.Is(err, errors.ErrUnsupported) {
			again := *x
			again.noted = false
			r.workerOf(&again.Message).put(&again)
		} else if err != nil && !errors.Is(err, broker.ErrClosed) {
			r.in.log.DebugContext(ctx, "message not requeued; the broker delivers it again", slog.Any("error", err))
		}
	})
}
