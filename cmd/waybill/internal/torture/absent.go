package torture

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

// absence is that of one of the topic's consumers.
type absence struct {
	who   *process
	other string // the group that is still there
	since int64  // the last effect before it
}

// absentNow is the absence of this moment; nil for none.
func (r *run) absentNow() *absence {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.absent
}

func (r *run) setAbsent(a *absence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.absent = a
}

func (r *run) isAbsent(p *process) bool {
	a := r.absentNow()
	return a != nil && a.who == p
}

// chooseAbsent has one of the topic's consumers not be there before all else is healed,
// where this is a run of that kind.
func (r *run) chooseAbsent() {
	if r.chosen["absent"] && r.missing["absent"] == "" && r.o.Seed%4 >= 2 {
		r.absent = r.absenceOf(int(r.o.Seed/4) % len(topicGroups))
	}
}

func (r *run) absenceOf(group int) *absence {
	name, other := topicGroups[group], topicGroups[1-group]
	return &absence{who: r.consumers[slices.IndexFunc(r.consumers, func(p *process) bool { return p.Name == name })], other: other}
}

// absences has one or the other of the topic's consumers be away for long, and come back
// once the other one has had all that was committed before that. endAbsence does the rest
// where ctx ends before.
func (n *nemesis) absences(ctx context.Context, dice *rand.Rand) {
	if a := n.absentNow(); a != nil {
		n.count("absent")
		n.note("%s is away until all else is healed", a.who.Name)
		n.claim(a.who.Name)
		return
	}
	span := func(least, most float64) time.Duration { // as parts of the run
		part := func(of float64) time.Duration { return time.Duration(of * float64(n.o.Duration)) }
		return min(between(dice, part(least), part(most)+time.Second), time.Minute)
	}
	for {
		backoff.Sleep(ctx, span(0.02, 0.15))
		a := n.absenceOf(dice.IntN(len(topicGroups)))
		release, ok := n.claimSoon(ctx, a.who.Name)
		if !ok {
			return
		}
		n.leave(ctx, a, dice.IntN(2) == 0, span(0.25, 0.5))
		release()
	}
}

// claimSoon claims something as soon as it is free.
func (n *nemesis) claimSoon(ctx context.Context, what string) (release func(), ok bool) {
	for ctx.Err() == nil {
		if release, ok = n.claim(what); ok {
			return release, true
		}
		backoff.Sleep(ctx, 20*time.Millisecond)
	}
	return nil, false
}

// leave has a consumer end, and come back after a while.
func (n *nemesis) leave(ctx context.Context, a *absence, inGoodOrder bool, span time.Duration) {
	n.note("%s is away for %v", a.who.Name, span)
	n.untilDone(ctx, func() (done bool, err error) {
		a.since, err = n.consumerDB.number(ctx, lastEffect)
		return true, err
	})
	n.setAbsent(a)
	if !inGoodOrder {
		a.who.Kill()
	} else if err := n.stop([]*process{a.who}); err != nil {
		n.fail(err)
		return
	}
	n.count("absent")
	backoff.Sleep(ctx, span)
	var want map[change]bool
	hasAll := n.untilDone(ctx, func() (done bool, err error) {
		if want == nil {
			if want, err = n.publicStates(ctx); err != nil {
				return false, err
			}
		}
		lacking, err := n.lacking(ctx, a.other, want)
		return lacking == 0, err
	})
	if !hasAll {
		return
	}
	n.returns(ctx, a)
	if err := a.who.Start(); err != nil {
		n.fail(err)
	}
}

// untilDone calls look now and then until it says so, and reports whether it did; what fails
// is tried again.
func (n *nemesis) untilDone(ctx context.Context, look func() (done bool, err error)) bool {
	for ctx.Err() == nil {
		if done, err := look(); done && err == nil {
			return true
		}
		backoff.Sleep(ctx, 200*time.Millisecond)
	}
	return false
}

// returns notes the end of an absence, and what the other consumer has had meanwhile.
func (r *run) returns(ctx context.Context, a *absence) {
	had, err := r.consumerDB.number(ctx, `SELECT count(*) FROM {effect} WHERE kind = ? AND n > ?`, a.other, a.since)
	if err != nil {
		r.note("count the effects of an absence: %v", err)
	}
	r.mu.Lock()
	r.keptUp += had
	r.absent = nil
	r.mu.Unlock()
	r.note("%s comes back; %s has had %d messages meanwhile", a.who.Name, a.other, had)
}

// endAbsence waits until a topic's consumer has all that it can have while the other one
// is away, and has that one come back. A consumer that gets nothing for as long as patience is
// held up, and so is one that gets less than a window of messages for much longer: a broker
// that comes back from a full disk takes messages one by one.
func (r *run) endAbsence(ctx context.Context) error {
	a := r.absentNow()
	if a == nil {
		return nil
	}
	want, err := r.publicStates(ctx)
	if err != nil {
		return err
	}
	var quiet, slow supervisor.Stopwatch // since any message, and since a window of them
	for last, least := int64(-1), int64(-1); ; {
		lacking, err := r.lacking(ctx, a.other, want)
		if err != nil {
			return err
		}
		if lacking == 0 {
			break
		}
		if last < 0 || lacking < last {
			last = lacking
			quiet.Reset()
		}
		if least < 0 || lacking <= least-publicWindow {
			least = lacking
			slow.Reset()
		}
		if quiet.Time() > r.patience() || slow.Time() > manyPatiences*r.patience() {
			r.heldUp = lacking
			break
		}
		if backoff.Sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	r.returns(ctx, a)
	return r.start(ctx, []*process{a.who})
}

// publicStates returns the public orders' states that were committed.
func (r *run) publicStates(ctx context.Context) (map[change]bool, error) {
	all := map[change]bool{}
	err := r.producerDB.each(ctx, `SELECT id, version, token FROM {order_state}`, func(rows *sql.Rows) error {
		var s change
		err := rows.Scan(&s.id, &s.version, &s.token)
		if isPublic(s.id) {
			all[s] = true
		}
		return err
	})
	return all, err
}

// lacking returns how many of the wanted states one of the topic's groups lacks: the mirror
// by the newest that it has, the audit one by one. What restores have undone, at the producers
// or at that group, does not count.
func (r *run) lacking(ctx context.Context, group string, want map[change]bool) (n int64, err error) {
	had, newest := map[change]bool{}, map[string]place{}
	err = r.consumerDB.each(ctx, `SELECT ref, version, token FROM {effect} WHERE kind = ?`, func(rows *sql.Rows) error {
		var ref string
		var s change
		err := rows.Scan(&ref, &s.version, &s.token)
		s.id = ref
		if group == auditGroup {
			s.state.id, s.state.version = auditedState(ref)
		}
		had[s] = true
		return err
	}, group)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.undone.effects {
		switch {
		case e.kind != group:
		case group == auditGroup:
			order, version := auditedState(e.ref)
			had[change{state{order, version}, e.token}] = true
		default:
			had[change{state{e.ref, e.version}, e.token}] = true
		}
	}
	for s := range had {
		if at := r.undone.place(s.version, s.token); newest[s.id].before(at) {
			newest[s.id] = at
		}
	}
	for s := range want {
		superseded := group != auditGroup && r.undone.place(s.version, s.token).before(newest[s.id])
		if !had[s] && !superseded && !r.undone.messages.states[s] {
			n++
		}
	}
	return n, nil
}
