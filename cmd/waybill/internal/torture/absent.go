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
	n.count("absent")
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
	backoff.Sleep(ctx, span)
	var want map[string]int64
	hasAll := n.untilDone(ctx, func() (done bool, err error) {
		if want == nil {
			if want, err = n.newestPublic(ctx); err != nil {
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
	want, err := r.newestPublic(ctx)
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

// newestPublic returns the newest version of each public order that was committed.
func (r *run) newestPublic(ctx context.Context) (map[string]int64, error) {
	newest := map[string]int64{}
	err := r.producerDB.each(ctx, `SELECT id, max(version) FROM {order_state} GROUP BY id`, func(rows *sql.Rows) error {
		var s state
		err := rows.Scan(&s.id, &s.version)
		if isPublic(s.id) {
			newest[s.id] = s.version
		}
		return err
	})
	return newest, err
}

// lacking returns how many states up to the wanted versions one of the topic's groups lacks:
// the mirror by the newest that it has, the audit one by one.
func (r *run) lacking(ctx context.Context, group string, want map[string]int64) (n int64, err error) {
	for _, version := range want {
		n += version
	}
	query := `SELECT ref, max(version) FROM {effect} WHERE kind = ? GROUP BY ref`
	if group == auditGroup {
		query = `SELECT DISTINCT ref, version FROM {effect} WHERE kind = ?`
	}
	err = r.consumerDB.each(ctx, query, func(rows *sql.Rows) error {
		var s state
		err := rows.Scan(&s.id, &s.version)
		if group != auditGroup {
			n -= min(s.version, want[s.id])
		} else if order, version := auditedState(s.id); version <= want[order] {
			n--
		}
		return err
	}, group)
	return n, err
}
