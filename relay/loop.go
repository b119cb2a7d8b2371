package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
)

// What the relay does with the table again and again is done in loops, each in a
// goroutine of its own, so that a statement that is slow, that waits for a lock or that
// fails holds up nothing but its own loop. Where one loop has several tasks, one that
// fails holds up none of the others: each has delays of its own.

// trouble is what becomes of something that fails: it is told once and then rarely, and
// tried again after delays of its own that grow.
type trouble struct {
	wait  backoff.Backoff
	until time.Time // not to be tried before; zero while all is well
}

func newTrouble() trouble {
	return trouble{wait: backoff.Backoff{Least: 50 * time.Millisecond, Most: 5 * time.Second}}
}

// isOver says whether it may be tried (again).
func (x *trouble) isOver() bool { return !time.Now().Before(x.until) }

// note takes the outcome of a try to do something, for one destination or, "", for all.
func (x *trouble) note(ctx context.Context, t *term, err error, doing, destination string) {
	what := []any{slog.String("doing", doing)}
	if destination != "" {
		what = append(what, slog.String("destination", destination))
	}
	name := doing + " " + destination
	switch {
	case err != nil:
		if times, due := t.r.repeats.Due(name, err.Error()); due {
			t.log.WarnContext(ctx, "trouble with the outbox's tables; trying again, and all else goes on", append(what, slog.Int64("times", times), slog.Any("error", err))...)
		}
		x.until = time.Now().Add(x.wait.Next())
	case !x.until.IsZero():
		t.log.InfoContext(ctx, "the trouble with the outbox's tables is over", what...)
		t.r.repeats.Over(name)
		x.wait.Reset()
		x.until = time.Time{}
	}
}

// task is something to be done again and again.
type task struct {
	doing string // for the log, such as "read the floor"
	// limit bounds one step, so that a statement that hangs is given up some time; 0
	// for no bound.
	limit time.Duration
	// run does one step and reports whether there may be more to do at once.
	run func(context.Context) (busy bool, err error)
	trouble
}

func newTask(doing string, limit time.Duration, run func(context.Context) (bool, error)) *task {
	return &task{doing: doing, limit: limit, run: run, trouble: newTrouble()}
}

// do runs the task once, unless it has failed and its delay is not over.
func (k *task) do(ctx context.Context, t *term) (busy bool) {
	if !k.isOver() {
		return false
	}
	step, cancel := ctx, context.CancelFunc(func() {})
	if k.limit > 0 {
		step, cancel = context.WithTimeout(ctx, k.limit)
	}
	defer cancel()
	busy, err := k.run(step)
	if ctx.Err() != nil {
		return false
	}
	k.note(ctx, t, err, k.doing, "")
	return busy && err == nil
}

// loop does tasks in turn.
type loop struct {
	tasks []*task
	// pause is how long there is nothing to do where nobody wakes the loop; idle is how
	// often it has paused in vain since there was something.
	pause func(idle int) time.Duration
	woken <-chan struct{}
	// stirred ends a wait, too, where something may be done that is nothing new: that says
	// nothing of how often to look.
	stirred <-chan struct{}
	// found, where it is not nil, hears that there was something to do, and whether somebody
	// had woken the loop for it.
	found func(told bool)
	told  bool // the last wait was ended by somebody
}

// run does the tasks until ctx ends. While there is no connection to the broker it stands
// still.
func (l *loop) run(ctx context.Context, t *term) {
	for idle := 0; ctx.Err() == nil; {
		if _, err := t.link.wait(ctx); err != nil {
			return
		}
		if l.once(ctx, t) {
			idle = 0
			if l.found != nil {
				l.found(l.told)
			}
			continue
		}
		idle = l.wait(ctx, idle)
	}
}

// once does each task once and reports whether there may be more to do at once.
func (l *loop) once(ctx context.Context, t *term) (busy bool) {
	for _, k := range l.tasks {
		if ctx.Err() != nil {
			return false
		}
		busy = k.do(ctx, t) || busy
	}
	return busy
}

// wait waits until something is to be done, and returns the new value of idle.
func (l *loop) wait(ctx context.Context, idle int) int {
	timer := time.NewTimer(l.longestWait(idle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		l.told = false
		return idle + 1
	case <-l.stirred:
		return idle
	case <-l.woken:
	}
	l.told = true
	return 0
}

// longestWait is how long to wait where nothing wakes the loop.
func (l *loop) longestWait(idle int) time.Duration {
	const least = time.Millisecond // a task that has nothing to do must not be run without end
	longest := max(l.pause(idle), least)
	troubled := 0
	for _, k := range l.tasks {
		if !k.until.IsZero() {
			troubled++
			longest = min(longest, max(time.Until(k.until), least))
		}
	}
	if troubled < len(l.tasks) {
		return longest
	}
	first := time.Until(l.tasks[0].until)
	for _, k := range l.tasks {
		first = min(first, time.Until(k.until))
	}
	return max(first, least)
}

// until is a pause that ends at a time.
func until(at func() time.Time) func(int) time.Duration {
	return func(int) time.Duration { return time.Until(at()) }
}

// signal puts a value into a channel of one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
