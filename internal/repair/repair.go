// Package repair sends groups of rejected messages again, or discards them, in stages.
//
// What is meant is read once, when the order is given: what is rejected afterwards stays.
// Messages are sent again 1, 10, 100 and then 1,000 at a time. After each stage it waits for
// what becomes of them, and pauses where they fail again, so that a mistake costs one message
// and not a million. Each message is changed only as it was seen, so that of two people who
// order the same thing the first one gets it, and the second is told.
package repair

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

// Action is what is done with messages.
type Action string

// Actions.
const (
	Resend  Action = "resend"
	Discard Action = "discard"
)

// State is how far an Operation is.
type State string

// States of an Operation.
const (
	Running State = "running" // messages are changed
	Looking State = "looking" // it waits for what becomes of a stage's messages
	Paused  State = "paused"  // it waits for a person: Continue or Stop
	Done    State = "done"    // it has come to its end
	Stopped State = "stopped" // a person, or the end of the program, has ended it
	Failed  State = "failed"  // the database has ended it
)

const (
	// Most is how many messages one operation takes.
	Most = 100_000
	// MostUnderWay is how many operations may be under way at a time, those included that wait
	// for a person, and MostOfOne how many of them one person may have ordered. Each holds what
	// it is about in memory.
	MostUnderWay = 8
	MostOfOne    = 4
	// remembered is how many operations are shown, of which those go first that have ended, and
	// of those the oldest of whoever has the most.
	remembered = 50
	// firstStages and laterStage are how many messages go at a time.
	laterStage = 1000
)

var firstStages = []int{1, 10, 100}

// Options configure a Desk; nil and the zero value hold the defaults.
type Options struct {
	// Settle is how long the messages of a stage may take to be confirmed, without one
	// getting on, before it pauses. Default 20 s.
	Settle time.Duration
	// Look is the time between two looks at them. Default 500 ms.
	Look time.Duration
	// Logger gets a line when an operation begins and one when it ends, with who ordered it.
	// Default slog.Default().
	Logger *slog.Logger
}

// Operation is what has been ordered, and what has come of it.
type Operation struct {
	ID        string           `json:"id"`
	Database  string           `json:"database"`
	Action    Action           `json:"action"`
	Selection survey.Selection `json:"selection"`
	Who       string           `json:"who"`
	Began     time.Time        `json:"began"`
	Ended     *time.Time       `json:"ended,omitempty"`
	State     State            `json:"state"`
	Total     int              `json:"total"`     // messages that were meant when it began
	More      bool             `json:"more"`      // there were more than one operation takes
	Done      int              `json:"done"`      // sent again, or discarded
	Skipped   int              `json:"skipped"`   // left alone: somebody else has changed them since
	Forgotten int              `json:"forgotten"` // left alone: their consumer would reject them again
	Confirmed int              `json:"confirmed"` // of Done, those that are known to have left the table
	FailAgain int              `json:"failed_again"`
	Stage     int              `json:"stage"` // messages of the stage under way
	// Note says why it is Paused or Failed, or what there is to know.
	Note survey.Sentence `json:"note"`
}

// Ended states do not change any more.
func (s State) ended() bool { return s == Done || s == Stopped || s == Failed }

// Desk takes orders and carries them out. It is safe for concurrent use.
type Desk struct {
	o      Options
	ctx    context.Context //nolint:containedctx // it ends all operations; they outlive the requests that order them
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu       sync.Mutex
	all      []*operation   // in the order in which they began
	starting map[string]int // orders of which is being read what they mean, by who has given them
}

// operation is one with what only its goroutine and its owner need.
type operation struct {
	Operation
	reader *survey.Reader
	items  []survey.Rejected
	goOn   chan struct{} // Continue
	cancel context.CancelFunc
}

// New returns a Desk. Close ends it.
func New(o *Options) *Desk {
	d := &Desk{starting: map[string]int{}}
	if o != nil {
		d.o = *o
	}
	if d.o.Settle <= 0 {
		d.o.Settle = 20 * time.Second
	}
	if d.o.Look <= 0 {
		d.o.Look = 500 * time.Millisecond
	}
	if d.o.Logger == nil {
		d.o.Logger = slog.Default()
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Close stops all operations after the message that each is at, and returns when they have
// stopped.
func (d *Desk) Close() {
	d.mu.Lock()
	d.cancel()
	d.mu.Unlock()
	d.group.Wait()
}

// Start reads which messages are meant, and begins. who is for the log.
func (d *Desk) Start(ctx context.Context, database string, r *survey.Reader, action Action, s survey.Selection, who string) (Operation, error) {
	if action != Resend && action != Discard {
		return Operation{}, fmt.Errorf("%.40q is nothing that can be done with a message: use %s or %s", action, Resend, Discard)
	}
	if err := d.reserve(who); err != nil {
		return Operation{}, err
	}
	op, err := d.read(ctx, database, r, action, s, who)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release(who)
	if err != nil {
		return Operation{}, err
	}
	if d.ctx.Err() != nil {
		return Operation{}, ErrClosed
	}
	var running context.Context
	running, op.cancel = context.WithCancel(d.ctx)
	d.all = append(d.all, op)
	d.forget()
	d.o.Logger.InfoContext(ctx, "audit: rejected messages are changed", d.attrs(&op.Operation)...)
	d.group.Go(func() { d.run(running, op) })
	return op.Operation, nil
}

// read makes an operation of what an order means now.
func (d *Desk) read(ctx context.Context, database string, r *survey.Reader, action Action, s survey.Selection, who string) (*operation, error) {
	op := &operation{
		Operation: Operation{
			ID: rand.Text(), Database: database, Action: action, Selection: s, Who: who, Began: time.Now().UTC(), State: Running,
		},
		reader: r, goOn: make(chan struct{}, 1),
	}
	_, err := r.EachRejected(ctx, s.Side, Most, func(x *survey.Rejected) bool {
		if !s.Allows(x) {
			return true
		}
		if op.More = len(op.items) == Most; op.More {
			return false
		}
		op.items = append(op.items, slim(x))
		return true
	})
	if err == nil && len(op.items) == 0 {
		err = ErrNothing
	}
	op.Total = len(op.items)
	return op, err
}

// slim is a message without what the operation does not need, as there may be many.
func slim(x *survey.Rejected) survey.Rejected {
	one := *x
	one.Key, one.Reason = "", ""
	if strings.Contains(x.Reason, waybill.ReasonForgotten) {
		one.Reason = waybill.ReasonForgotten
	}
	return one
}

// attrs is what the log says of an operation.
func (d *Desk) attrs(o *Operation) []any {
	attrs := []any{
		slog.String("operation", o.ID), slog.String("action", string(o.Action)), slog.String("who", o.Who), slog.String("database", o.Database),
		slog.String("selection", describe(&o.Selection)), slog.Int("messages", o.Total),
	}
	if o.State.ended() {
		attrs = append(attrs, slog.String("state", string(o.State)), slog.Int("done", o.Done), slog.Int("skipped", o.Skipped+o.Forgotten), slog.Int("failed_again", o.FailAgain))
	}
	return attrs
}

func describe(s *survey.Selection) string {
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"side", string(s.Side)}, {"group", s.Group}, {"destination", s.Destination}, {"consumer", s.Consumer}, {"text", s.Text},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	if n := len(s.MessageIDs); n > 0 {
		parts = append(parts, fmt.Sprintf("%d ids from %s on", n, s.MessageIDs[0]))
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, ", ")
}

// Operations returns all, the newest first.
func (d *Desk) Operations() []Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Operation, 0, len(d.all))
	for _, op := range slices.Backward(d.all) {
		all = append(all, op.Operation)
	}
	return all
}

// Operation returns one; false says that there is none of this id.
func (d *Desk) Operation(id string) (Operation, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if op := d.find(id); op != nil {
		return op.Operation, true
	}
	return Operation{}, false
}

func (d *Desk) find(id string) *operation {
	for _, op := range d.all {
		if op.ID == id {
			return op
		}
	}
	return nil
}

// Continue has an operation go on that is Paused; false says that there is none.
func (d *Desk) Continue(ctx context.Context, id, who string) bool {
	d.mu.Lock()
	op := d.find(id)
	paused := op != nil && op.State == Paused
	if paused {
		op.State, op.Note = Running, survey.Sentence{}
		op.goOn <- struct{}{}
	}
	d.mu.Unlock()
	if paused {
		d.o.Logger.InfoContext(ctx, "audit: an operation goes on", slog.String("operation", id), slog.String("who", who))
	}
	return paused
}

// Stop ends an operation after the message that it is at; false says that none of this id is
// under way. What was done stays done.
func (d *Desk) Stop(ctx context.Context, id, who string) bool {
	d.mu.Lock()
	op := d.find(id)
	under := op != nil && !op.State.ended()
	d.mu.Unlock()
	if under {
		op.cancel()
		d.o.Logger.InfoContext(ctx, "audit: an operation is stopped", slog.String("operation", id), slog.String("who", who))
	}
	return under
}

// change changes what is shown of an operation.
func (d *Desk) change(op *operation, f func(o *Operation)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&op.Operation)
}

// run carries an operation out.
func (d *Desk) run(ctx context.Context, op *operation) {
	defer op.cancel()
	state, note := d.stages(ctx, op)
	now := time.Now().UTC()
	end := func(o *Operation) { o.State, o.Note, o.Ended, o.Stage = state, note, &now, 0 }
	d.mu.Lock()
	ended := op.Operation
	d.mu.Unlock()
	end(&ended)
	// Whoever sees that it has ended finds that in the log.
	d.o.Logger.InfoContext(context.WithoutCancel(ctx), "audit: an operation has ended", d.attrs(&ended)...)
	op.items = nil
	d.change(op, end)
}

func (d *Desk) stages(ctx context.Context, op *operation) (State, survey.Sentence) {
	rest := op.items
	for stage := 0; len(rest) > 0; stage++ {
		size := laterStage
		if stage < len(firstStages) {
			size = firstStages[stage]
		}
		if op.Action == Discard {
			size = laterStage // nothing can fail again
		}
		batch := rest[:min(size, len(rest))]
		rest = rest[len(batch):]
		d.change(op, func(o *Operation) { o.State, o.Stage = Running, len(batch) })
		changed, err := d.each(ctx, op, batch)
		switch {
		case ctx.Err() != nil:
			return Stopped, survey.Sentence{}
		case err != nil:
			return Failed, d.failure(ctx, op, err)
		}
		if op.Action == Discard {
			continue
		}
		trouble := d.watch(ctx, op, changed)
		if ctx.Err() != nil {
			return Stopped, survey.Sentence{}
		}
		if trouble.IsZero() || len(rest) == 0 {
			if len(rest) == 0 {
				return Done, trouble
			}
			continue
		}
		d.change(op, func(o *Operation) { o.State, o.Note = Paused, trouble })
		select {
		case <-op.goOn:
		case <-ctx.Done():
			return Stopped, trouble
		}
	}
	return Done, survey.Sentence{}
}

// each changes the messages of a stage, and returns those that it has sent again.
func (d *Desk) each(ctx context.Context, op *operation, batch []survey.Rejected) (changed []*survey.Rejected, err error) {
	do := op.reader.Resend
	if op.Action == Discard {
		do = op.reader.Discard
	}
	for i := range batch {
		x := &batch[i]
		if op.Action == Resend && strings.Contains(x.Reason, waybill.ReasonForgotten) {
			d.change(op, func(o *Operation) { o.Forgotten++ })
			continue
		}
		if ctx.Err() != nil {
			return changed, ctx.Err()
		}
		// What has begun is finished, so that what is counted is what was done.
		found, err := do(context.WithoutCancel(ctx), x)
		if err != nil {
			return changed, err
		}
		if found {
			changed = append(changed, x)
		}
		d.change(op, func(o *Operation) {
			if found {
				o.Done++
			} else {
				o.Skipped++
			}
		})
	}
	return changed, nil
}

// failure is what is shown of an error of the database. What that says may name hosts and
// users, so that only the log has it.
func (d *Desk) failure(ctx context.Context, op *operation, err error) survey.Sentence {
	d.o.Logger.WarnContext(ctx, "an operation cannot go on", slog.String("operation", op.ID), slog.String("database", op.Database), slog.Any("error", err))
	return survey.Sentence{Format: "The database has failed; the log says why."}
}

// watch waits until every message of a stage is confirmed or has failed again, or none of
// them gets on any more, and returns why to pause.
func (d *Desk) watch(ctx context.Context, op *operation, sent []*survey.Rejected) survey.Sentence {
	if len(sent) == 0 {
		return survey.Sentence{}
	}
	d.change(op, func(o *Operation) { o.State = Looking })
	confirmed, failed := op.Confirmed, op.FailAgain // of the stages before; only this goroutine changes them
	timer := time.NewTimer(d.o.Look)
	defer timer.Stop()
	moved := time.Now()
	for last := -1; ; {
		fates, err := op.reader.Fates(ctx, sent)
		if err != nil && ctx.Err() == nil {
			return d.failure(ctx, op, err)
		}
		d.change(op, func(o *Operation) { o.Confirmed, o.FailAgain = confirmed+fates.Gone, failed+fates.Failed })
		settled := fates.Gone + fates.Failed
		if settled != last {
			last, moved = settled, time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return survey.Sentence{}
		case settled == len(sent) && fates.Failed*10 >= len(sent) && fates.Failed > 0:
			return survey.Sentence{Format: "%d of these %d have failed again: %s", Args: []any{fates.Failed, len(sent), fates.Reason}}
		case settled == len(sent):
			return survey.Sentence{}
		case time.Since(moved) >= d.o.Settle:
			return survey.Sentence{Format: "%d of these %d are not confirmed yet, and none has got on for %s. Is a consumer running?", Args: []any{len(sent) - settled, len(sent), survey.Span(d.o.Settle)}}
		}
		timer.Reset(d.o.Look)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// SideOf checks the name of a side; "" is both.
func SideOf(name string) (store.Side, error) {
	switch side := store.Side(name); side {
	case "", store.Producer, store.Consumer:
		return side, nil
	}
	return "", fmt.Errorf("%.40q is no side: use producer or consumer", name)
}
