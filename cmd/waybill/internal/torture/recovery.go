package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/store"
)

// recovery comes after the faults: everything is healed, the producers stop once there has
// been some of each kind of message, and the outbox has to empty itself. What was rejected is sent again, as a person would. A consumer
// that is still away comes back once the others have all that they can have.
func (r *run) recovery(ctx context.Context) error {
	r.note("recovery: nothing is broken any more")
	began := time.Now()
	if err := r.heal(ctx); err != nil {
		return err
	}
	r.healTime = time.Since(began)
	healed := time.Now()
	r.note("all are at work")
	if err := r.seeAll(ctx); err != nil {
		return err
	}
	if err := r.stop(r.producers); err != nil {
		return err
	}
	if err := r.endAbsence(ctx); err != nil {
		return err
	}
	began = time.Now()
	if err := r.drain(ctx); err != nil {
		return err
	}
	r.drainTime = time.Since(began)
	if err := r.quiesce(ctx, healed); err != nil {
		return err
	}
	if err := r.stop(slices.Concat(r.consumers, r.relays)); err != nil {
		return err
	}
	if r.broker != nil {
		return r.stop([]*process{r.broker})
	}
	return nil
}

// How long to wait at least, whatever Options.Patience is: for a process to be at work, and
// for those that were told to stop. A producer has to finish its transactions.
const (
	startPatience = time.Minute
	stopPatience  = transactionTime + 10*time.Second
)

// stop ends processes in good order.
func (r *run) stop(processes []*process) error {
	return supervisor.StopAll(max(r.o.Patience, stopPatience), command{Stop: true}, processes...)
}

// heal undoes what the nemesis may have left.
func (r *run) heal(ctx context.Context) error {
	for _, p := range r.proxies {
		if err := p.heal(); err != nil {
			return err
		}
	}
	none := func(f *activeFaults) { *f = activeFaults{} }
	r.setFaults(producerRole, r.producers, none)
	r.setFaults(relayRole, r.relays, none)
	r.setFaults(consumerRole, r.consumers, none)
	return r.startAll(ctx)
}

// patience is how long to wait while nothing moves: what a process that was killed had taken
// comes again only when the broker lets it, and again after that where the next one had it.
func (r *run) patience() time.Duration { return r.o.Patience + 2*r.redelivery }

// manyPatiences is how many times as long to wait where copies move, and nothing comes of
// them.
const manyPatiences = 10

// drain waits until the outbox is empty. Where nothing has moved for as long as patience it
// gives up; the verdict says what that means.
func (r *run) drain(ctx context.Context) error {
	var before [2]int64
	var copies int64
	var quiet, idle supervisor.Stopwatch // since any copy, and since anything came of one
	for {
		now, err := r.progress(ctx)
		if err == nil && now[0] == 0 {
			r.note("the outbox is empty")
			return nil
		}
		if moved := total(r.relays).Published + total(r.consumers).Received; moved != copies {
			copies = moved
			quiet.Reset()
		}
		if wait, err := r.isDelayed(ctx); err == nil && wait {
			quiet.Reset()
		}
		if err == nil && now != before {
			before = now
			quiet.Reset()
			idle.Reset()
		}
		if quiet.Time() > r.patience() || idle.Time() > manyPatiences*r.patience() {
			r.gaveUp = fmt.Sprintf("%d messages were still in the outbox when nothing had moved for %v", now[0], r.patience())
			return err
		}
		if backoff.Sleep(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// isDelayed says whether there are rows whose time has not come: a consumer may have asked
// for another copy in a minute.
func (r *run) isDelayed(ctx context.Context) (bool, error) {
	latest, err := r.producerDB.number(ctx, `SELECT coalesce(max(not_before), 0) FROM {qmessage} WHERE status = 0`)
	if err != nil || latest == 0 {
		return false, err
	}
	now, err := r.readClock(ctx)
	return latest > now, err
}

// lastEffect is the number of the effect that was written last.
const lastEffect = `SELECT coalesce(max(n), 0) FROM {effect}`

// progress sends again what was rejected, and returns what is left in the outbox and the
// effects so far.
func (r *run) progress(ctx context.Context) (now [2]int64, err error) {
	if err := r.resendRejected(ctx); err != nil {
		return now, err
	}
	if now[0], err = r.producerDB.number(ctx, `SELECT count(*) FROM {qmessage}`); err != nil {
		return now, err
	}
	now[1], err = r.consumerDB.number(ctx, lastEffect)
	return now, err
}

// resendRejected sends again what was rejected, as a person would. What its consumer has
// forgotten goes under a new id, unless a look at the consumer shows that it did take
// effect: then its receipt was lost, and its record forgotten since.
func (r *run) resendRejected(ctx context.Context) error {
	queue, err := store.NewQueue(r.producerDB.DB, r.producerDB.dialect, r.prefix)
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
			done, err := r.hasEffect(ctx, &rejected[i])
			if err != nil {
				return err
			}
			if done {
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

// hasEffect looks at the consumers' database for the effect of a message at a consumer of
// level Once: only those forget. It goes by what is in the message, since a message that was
// sent again as a new one has a new id, and may have its old one again after a restore.
func (r *run) hasEffect(ctx context.Context, row *store.Row) (bool, error) {
	var p payload
	var kind, ref string
	if row.Destination == destinationsOf(r.name).Parcels {
		var headers map[string]string
		if err := json.Unmarshal([]byte(row.Headers), &headers); err != nil {
			return false, fmt.Errorf("the headers of message %s: %w", row.MessageID, err)
		}
		p.Token = headers[parcelToken]
		kind, ref = parcelKind, p.Token+parcelSuffix
	} else {
		if err := json.Unmarshal(row.Body, &p); err != nil {
			return false, fmt.Errorf("the body of message %s: %w", row.MessageID, err)
		}
		switch {
		case p.Transfer != "":
			kind, ref = transferKind, p.Transfer
		case p.Errand != "":
			kind, ref = errandKind, p.Errand
		case p.Notice != "":
			kind, ref = noticeKind, p.Notice
		default:
			kind, ref = auditGroup, auditRef(state{p.Order, p.Version})
		}
	}
	n, err := r.consumerDB.number(ctx, `SELECT count(*) FROM {effect} WHERE kind = ? AND ref = ? AND token = ?`, kind, ref, p.Token)
	return n > 0, err
}

// quietTime is the time without a copy after which all old copies are taken to have come.
const quietTime = 3 * time.Second

// quiesce waits until no old copies come any more, among them those that processes had taken
// that died before everything was healed: those have to do no harm either.
func (r *run) quiesce(ctx context.Context, healed time.Time) error {
	limited, cancel := context.WithTimeout(ctx, manyPatiences*r.patience())
	defer cancel()
	never := func() bool { return false }
	received := func() int64 { return total(r.consumers).Received }
	for {
		_, err := supervisor.Wait(limited, quietTime, never, received)
		if err != nil || time.Since(healed) > r.redelivery+quietTime {
			return context.Cause(ctx)
		}
	}
}
