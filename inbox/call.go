package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/guest"
	"github.com/waybill-go/waybill/store"
)

// A handler is not ours: it may ignore the end of its context, or end its goroutine. So the
// handlers of a batch run in a goroutine of the batch's own, and the worker waits for it no
// longer than it wants to.

// calls are the handlers' calls of one batch, one after the other.
type calls struct {
	r     *route
	ended chan *failure // has room for one: nil where all handlers have done their work

	mu    sync.Mutex
	xs    []*item   // whose handler runs, one or those of a batch handler; none while none does
	began time.Time // when it was called
	told  bool      // the log says that its time is over
	// left says that the worker waits no longer for the handler that runs. The transaction
	// is the worker's then.
	left bool
}

var (
	errExited = errors.New("the handler has ended its goroutine with runtime.Goexit, as t.FailNow and testify's require do; it has to return an error")
	errStuck  = errors.New("the handler of a message of this key, or of an earlier copy, has not returned yet")
)

// patience is how long after its time a handler may take to return before that is told.
func patience(timeout time.Duration) time.Duration { return min(timeout/10, time.Second) }

// maxLeft is how many handlers, for each worker of a route, may be left behind at a time:
// each keeps a goroutine, and may keep a connection. A worker waits for what is beyond that.
const maxLeft = 8

// handlers runs the handlers of the messages that are fresh, and waits for them: until ctx
// ends, and else for twice Options.Timeout.
func (r *route) handlers(ctx context.Context, tx *store.Transaction, subjects []*item, verdicts []store.Verdict) *failure {
	if !slices.Contains(verdicts, store.Fresh) {
		return nil
	}
	c := &calls{r: r, ended: make(chan *failure, 1)}
	go c.run(ctx, tx, subjects, verdicts)
	return c.wait(ctx)
}

// run is the goroutine of the handlers.
func (c *calls) run(ctx context.Context, tx *store.Transaction, subjects []*item, verdicts []store.Verdict) {
	var failed *failure
	exited := true
	defer func() {
		if exited {
			failed = c.exited()
		}
		c.ended <- failed
	}()
	fresh := make([]*item, 0, len(subjects))
	for i, x := range subjects {
		if verdicts[i] == store.Fresh {
			fresh = append(fresh, x)
		}
	}
	each := 1
	if c.r.several {
		each = len(fresh)
	}
	for xs := range slices.Chunk(fresh, each) {
		c.begin(xs)
		what := c.r.call(ctx, tx.SQL(), xs)
		if !c.end() {
			break
		}
		if failed = c.r.judge(ctx, tx, xs, what); failed != nil {
			break
		}
	}
	exited = false
}

// begin notes that a handler is called.
func (c *calls) begin(xs []*item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.xs, c.began, c.told = xs, time.Now(), false
}

// end notes that a handler has returned, and reports whether that still counts.
func (c *calls) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	xs := c.xs
	c.xs = nil
	took := time.Since(c.began)
	if c.told || c.left {
		c.r.in.log.Warn("a handler has returned at last", slog.String("destination", c.r.destination),
			slog.String("id", xs[0].Message.ID.String()), slog.Int("messages", len(xs)), slog.Duration("took", took), slog.Bool("counts", !c.left))
	}
	c.r.forgetStuck(c, xs)
	if !c.left {
		noteTook(xs, took)
	}
	return !c.left
}

// noteTook notes how long messages' handler took.
func noteTook(xs []*item, took time.Duration) {
	for _, x := range xs {
		x.took = took
	}
}

// exited is the failure of a handler that has ended its goroutine.
func (c *calls) exited() *failure {
	xs := c.xs
	if !c.end() {
		return nil
	}
	c.r.in.counters.panics.Add(1)
	return &failure{stage: inHandler, blames: blameFor(xs, errExited, nil), err: errExited, alive: true}
}

// wait waits for the handlers. One that does not return in time is told and counted, and
// left behind when twice its time is over, or ctx and a little more.
func (c *calls) wait(ctx context.Context) *failure {
	timer := time.NewTimer(c.r.o.Timeout + patience(c.r.o.Timeout))
	defer timer.Stop()
	stopped := ctx.Done()
	for {
		select {
		case failed := <-c.ended:
			return failed
		case <-stopped:
			stopped = nil
			timer.Reset(c.r.in.o.Drain / 20)
		case <-timer.C:
			failed, next := c.look(ctx, stopped == nil)
			if failed != nil {
				return failed
			}
			timer.Reset(next)
		}
	}
}

// look looks at the handler that runs. It returns a failure where that one is left behind,
// and otherwise when to look next. over says that its context has ended with ctx.
func (c *calls) look(ctx context.Context, over bool) (failed *failure, next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.r.o.Timeout
	if len(c.xs) == 0 { // between two: the database is asked, which ends with ctx
		return nil, patience(limit)
	}
	took := time.Since(c.began)
	due := limit + patience(limit)
	if !over && took < due {
		return nil, due - took
	}
	if !c.told && took >= due {
		c.told = true
		c.r.in.counters.overdue.Add(1)
		c.r.in.log.ErrorContext(ctx, "a handler has not returned although its time is over; its worker waits for it until twice that time",
			slog.String("destination", c.r.destination), slog.String("id", c.xs[0].Message.ID.String()), slog.Int("messages", len(c.xs)),
			slog.Time("since", c.began), slog.Duration("timeout", limit))
	}
	c.r.noteStuck(c, c.xs, c.began)
	if !over && took < 2*limit {
		return nil, 2*limit - took
	}
	if !c.r.leave(c, over) {
		return nil, limit
	}
	c.left = true
	noteTook(c.xs, took)
	c.r.noteHung(c.xs)
	err := fmt.Errorf("timed out after %v (inbox.Options.Timeout): the handler had not returned after %v, and its transaction is rolled back", limit, took.Round(time.Millisecond))
	return &failure{stage: inHandler, blames: blameFor(c.xs, err, nil), timedOut: true, left: true, err: err}, 0
}

// returned is what a call of a handler came to.
type returned struct {
	err      *saidError           // nil where it has done its work
	named    map[waybill.ID]error // what it says of single messages
	raw      error                // as it was returned: whoever asks it has to take its panics
	timedOut bool
}

// call calls the handler. A panic is an error like any other.
func (r *route) call(ctx context.Context, tx *sql.Tx, xs []*item) (what returned) {
	limited, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	messages := make([]*waybill.Message, len(xs))
	for i, x := range xs {
		m := x.Message // the handler's own: what it changes does not show in a next try
		m.Headers, m.Body = maps.Clone(m.Headers), slices.Clone(m.Body)
		messages[i] = &m
	}
	crash.Point("inbox.handler.before")
	panicked := guest.Try(func() { what.raw = r.handler(limited, tx, messages) })
	crash.Point("inbox.handler.after")
	switch {
	case panicked != nil:
		r.in.counters.panics.Add(1)
		what.err = &saidError{text: oneLine("panic: " + panicked.Error()), marks: []error{panicked}}
		what.raw = what.err
	case what.raw != nil:
		what.timedOut = errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil
		what.err, what.named = r.hear(what.raw, what.timedOut)
	}
	return what
}

// judge sees what a handler came to, and whether it has left the transaction alone: what is
// written behind a transaction's end would commit by itself.
func (r *route) judge(ctx context.Context, tx *store.Transaction, xs []*item, what returned) *failure {
	var f *failure
	if what.err == nil {
		err := tx.Settled()
		if err == nil {
			return nil
		}
		what.raw = err
		f = r.in.newFailure(inHandler, err)
	} else {
		f = &failure{stage: inHandler, err: what.err, condition: what.err.condition, full: what.err.full, timedOut: what.timedOut}
	}
	f.blames = blameFor(xs, f.err, what.named)
	if f.alive = f.condition != store.Unavailable; !f.alive && !f.timedOut {
		for _, err := range []error{what.raw, f.err} {
			panicked := guest.Try(func() {
				crash.Point("inbox.alive.before")
				f.alive = tx.Alive(ctx, err)
				crash.Point("inbox.alive.after")
			})
			if panicked == nil {
				break
			}
		}
	}
	return f
}

// subject is what messages have in common that are handled one at a time: their key, or
// without one their ID.
type subject struct {
	key string
	id  waybill.ID
}

func subjectOf(m *waybill.Message) subject {
	if m.Key != "" {
		return subject{key: m.Key}
	}
	return subject{id: m.ID}
}

// stuck are the handlers of a route that have not returned although they should have.
type stuck struct {
	mu   sync.Mutex
	all  map[*calls]stuckCall
	left map[subject]int // of those that are left behind
}

type stuckCall struct {
	xs    []*item
	began time.Time
	left  bool
}

// noteStuck notes a handler that has not returned in time.
func (r *route) noteStuck(c *calls, xs []*item, began time.Time) {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	if r.stuck.all == nil {
		r.stuck.all, r.stuck.left = map[*calls]stuckCall{}, map[subject]int{}
	}
	if _, ok := r.stuck.all[c]; !ok {
		r.stuck.all[c] = stuckCall{xs: xs, began: began}
	}
}

// leave notes that a worker waits no longer for a handler that is stuck. Unless always is
// set it may say no, since too many are left behind.
func (r *route) leave(c *calls, always bool) bool {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	n := 0
	for _, s := range r.stuck.all {
		if s.left {
			n++
		}
	}
	if n >= maxLeft*len(r.workers) && !always {
		return false
	}
	s := r.stuck.all[c]
	s.left = true
	r.stuck.all[c] = s
	for _, x := range c.xs {
		r.stuck.left[subjectOf(&x.Message)]++
	}
	return true
}

// forgetStuck notes that a handler has returned.
func (r *route) forgetStuck(c *calls, xs []*item) {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	if r.stuck.all[c].left {
		for _, x := range xs {
			of := subjectOf(&x.Message)
			if r.stuck.left[of]--; r.stuck.left[of] == 0 {
				delete(r.stuck.left, of)
			}
		}
	}
	delete(r.stuck.all, c)
}

// stuckAmong returns the messages about which a handler still works that was left behind.
func (r *route) stuckAmong(batch []*item) (found []*item) {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	if len(r.stuck.left) == 0 {
		return nil
	}
	for _, x := range batch {
		if r.stuck.left[subjectOf(&x.Message)] > 0 {
			found = append(found, x)
		}
	}
	return found
}

// stuckNow describes the handlers that are stuck.
func (r *route) stuckNow() (names []string) {
	r.stuck.mu.Lock()
	defer r.stuck.mu.Unlock()
	for _, s := range r.stuck.all {
		others := ""
		if n := len(s.xs) - 1; n > 0 {
			others = fmt.Sprintf(" and %d others", n)
		}
		names = append(names, fmt.Sprintf("the handler of %q with message %v%s, running since %s", r.destination, s.xs[0].Message.ID, others, s.began.UTC().Format(time.RFC3339)))
	}
	slices.Sort(names)
	return names
}
