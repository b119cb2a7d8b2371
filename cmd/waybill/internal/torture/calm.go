package torture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/store"
)

// calm comes after the storm: all is whole, the producers stop, and the outbox has to
// empty itself. What was rejected is sent again, as a person would.
func (r *run) calm(ctx context.Context) error {
	r.note("calm: nothing is broken any more")
	began := time.Now()
	if err := r.mend(ctx); err != nil {
		return err
	}
	r.mended = time.Since(began)
	r.note("all are at work")
	for _, m := range r.producers {
		if err := m.Stop(r.o.Patience, errand{Stop: true}); err != nil {
			return err
		}
	}
	began = time.Now()
	if err := r.empty(ctx); err != nil {
		return err
	}
	r.emptied = time.Since(began)
	if err := r.hush(ctx); err != nil {
		return err
	}
	for _, m := range slices.Concat(r.consumers, r.relays) {
		if err := m.Stop(r.o.Patience, errand{Stop: true}); err != nil {
			return err
		}
	}
	if r.broker != nil {
		return r.broker.Stop(r.o.Patience, errand{Stop: true})
	}
	return nil
}

// mend makes whole what the storm may have left.
func (r *run) mend(ctx context.Context) error {
	for _, w := range r.wires {
		if err := w.heal(); err != nil {
			return err
		}
	}
	well := func(s *setting) { *s = setting{} }
	r.set(relayPart, r.relays, well)
	r.set(consumerPart, r.consumers, well)
	return r.startAll(ctx)
}

// empty waits until the outbox is empty. Where nothing moves any more for as long as
// patience lasts it gives up; the verdict says what that means.
func (r *run) empty(ctx context.Context) error {
	var before [2]int64
	moved := time.Now()
	for {
		now, err := r.progress(ctx)
		if err == nil && now[0] == 0 {
			r.note("the outbox is empty")
			return nil
		}
		if err == nil && now != before {
			before, moved = now, time.Now()
		}
		if time.Since(moved) > r.o.Patience {
			r.gaveUp = fmt.Sprintf("%d messages were still in the outbox when nothing had moved for %v", now[0], r.o.Patience)
			return err
		}
		if sleep(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// progress sends again what was rejected, and returns what is left in the outbox and the
// effects so far.
func (r *run) progress(ctx context.Context) (now [2]int64, err error) {
	if err := r.resendRejected(ctx); err != nil {
		return now, err
	}
	if now[0], err = r.producerBooks.number(ctx, `SELECT count(*) FROM {qmessage}`); err != nil {
		return now, err
	}
	now[1], err = r.consumerBooks.number(ctx, `SELECT coalesce(max(n), 0) FROM {effect}`)
	return now, err
}

// resendRejected sends again what was rejected, as a person would. What its consumer has
// forgotten goes under a new id, unless a look at the consumer shows that it did take
// effect: then its receipt was lost, and its record forgotten since.
func (r *run) resendRejected(ctx context.Context) error {
	queue, err := store.NewQueue(r.producerBooks.DB, r.producerBooks.dialect, r.prefix)
	if err != nil {
		return err
	}
	rejected, err := queue.List(ctx, "", store.Rejected, 0, 500)
	if err != nil {
		return err
	}
	for i := range rejected {
		id := rejected[i].MessageID
		forgotten := strings.Contains(rejected[i].LastError, waybill.ReasonForgotten)
		if forgotten {
			done, err := r.consumerBooks.number(ctx, `SELECT count(*) FROM {effect} WHERE message_id = ? AND kind <> ?`, id.String(), mirrorGroup)
			if err != nil {
				return err
			}
			if done > 0 {
				if _, err := queue.Discard(ctx, id); err != nil {
					return err
				}
				continue
			}
		}
		if _, _, err := queue.Resend(ctx, id, forgotten); err != nil {
			return err
		}
	}
	return nil
}

// quiet is for how long nothing may come before all old copies are held to have come.
const quiet = 3 * time.Second

// hush waits until no old copies come any more: those have to do no harm either.
func (r *run) hush(ctx context.Context) error {
	received, since := int64(-1), time.Now()
	_, err := supervisor.Within(ctx, r.o.Patience, func() bool {
		if now := said(r.consumers).Received; now != received {
			received, since = now, time.Now()
		}
		return time.Since(since) > quiet
	})
	return err
}
