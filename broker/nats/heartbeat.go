package nats

import (
	"context"
	"errors"
	"time"
)

// errSilent ends a subscription that the server no longer knows.
var errSilent = errors.New("the server sends no heartbeats for the consumer: it may be deleted, or the user may not publish to $JS.API.CONSUMER.MSG.NEXT.>; subscribe again")

// heartbeat sends the heartbeats that are due, which keep what is not settled from coming
// again. It returns errSilent where the server itself has sent nothing for too long.
func (r *receiver) heartbeat(now time.Time) error {
	r.mu.Lock()
	var due []*held
	for h := r.list.next; h != &r.list && now.Sub(h.touched) >= r.beat*9/10; h = r.list.next {
		h.touched = now
		r.unlink(h)
		r.link(h)
		due = append(due, h)
	}
	silent := r.asked > 0 && now.Sub(r.lastSign) > 3*pullBeat && now.Sub(r.askedAt) > 3*pullBeat
	if r.asked == 0 {
		r.lastSign = now
	}
	r.mu.Unlock()
	if silent {
		return errSilent
	}
	return r.write(context.Background(), due, ackProgress)
}
