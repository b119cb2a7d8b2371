package stomp

import (
	"context"
	"strconv"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
)

// A subscription of STOMP keeps its window for life. Another window needs another
// subscription, and the broker takes back what the first one has not settled. So Receive
// returns nothing for a moment, until everything that it has returned is settled; then the
// one ends, the other begins, and what had arrived and was not received comes again.

// turn is the change from one subscription to the next. The receiver's mu guards it.
type turn struct {
	number  int       // of turns so far
	wanted  int       // the next window; 0 where none is wanted
	since   time.Time // when Receive began to hold back; zero where it does not
	after   time.Time // the turn is not tried before
	turning bool      // one subscription ends, the other begins
}

const (
	// turnPatience is how long Receive holds back while something is not settled.
	turnPatience = time.Second
	// turnPause is how long a turn waits that has found no end of that.
	turnPause = 30 * time.Second
	// turnTime bounds the broker's answers.
	turnTime = 15 * time.Second
)

var _ broker.Resizer = (*receiver)(nil)

// holds reports whether Receive holds back.
func (t *turn) holds() bool { return t.turning || !t.since.IsZero() }

// Resize has the receiver subscribe anew with another window; see broker.Resizer.
func (r *receiver) Resize(window int) {
	r.mu.Lock()
	if r.turn.wanted = max(window, 1); r.turn.wanted == r.window && !r.turn.turning {
		r.turn.wanted, r.turn.since = 0, time.Time{}
	}
	r.mu.Unlock()
	r.signal()
}

// turnOver goes on with a turn, where one is wanted. Receive calls it, and again when the
// channel that it returns has sent.
func (r *receiver) turnOver() <-chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.turn
	now := time.Now()
	switch {
	case t.turning || t.wanted == 0 || now.Before(t.after):
		return nil
	case r.unsettled == 0:
		t.since = time.Time{}
		t.turning = true
		t.number++
		window, ended, begun := t.wanted, r.id, strconv.Itoa(t.number+1)
		t.wanted = 0
		r.id = "" // what arrives of the old one comes again
		clear(r.arrivals)
		r.arrivals = nil
		r.socket.run(func() { r.subscribeAgain(ended, begun, window) })
		return nil
	case t.since.IsZero():
		t.since = now
	case now.Sub(t.since) >= turnPatience:
		t.since, t.after = time.Time{}, now.Add(turnPause)
		return nil
	}
	return time.After(turnPatience - now.Sub(t.since))
}

// subscribeAgain ends one subscription and begins another one.
func (r *receiver) subscribeAgain(ended, begun string, window int) {
	ctx, cancel := context.WithTimeout(context.Background(), turnTime)
	defer cancel()
	err := r.socket.ask(ctx, frame.New(frame.UNSUBSCRIBE, frame.Id, ended))
	if err == nil {
		err = r.subscribe(ctx, begun, window)
	}
	if err != nil {
		r.socket.fail(err)
		return
	}
	r.mu.Lock()
	r.turn.turning = false
	r.mu.Unlock()
	r.signal()
}
