package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

// expected is a kind of message of which a run has some, whatever its set-up and however short
// it is: a run in which none was committed, or none took effect, has shown nothing of it, and
// no other check would miss it.
type expected struct {
	what      string // for a person
	committed string // the rows of it that the producers' database has
	effects   string // the rows of its effects, but for their table
	group     string // the topic's, whose effects these are; "" for another consumer's
}

// expects are the kinds of messages that the run has to have.
func (r *run) expects() []expected {
	const ours, theirs = `NOT LIKE '` + foreignProducer + `.%'`, `LIKE '` + foreignProducer + `.%'`
	const states = `{order_state} WHERE id LIKE `
	effect := func(kind string) string { return `kind = '` + kind + `'` }
	all := []expected{
		{"transfer", `{transfer}`, effect(transferKind), ""},
		{"notice", `{notice}`, effect(noticeKind), ""},
		{"parcel", `{parcel}`, effect(parcelKind), ""},
		{"errand that Send has sent", `{errand} WHERE id ` + ours, effect(errandKind) + ` AND ref ` + ours, ""},
		{"errand of the foreign producer", `{errand} WHERE id ` + theirs, effect(errandKind) + ` AND ref ` + theirs, ""},
		{"errand for the foreign consumer", `{errand} WHERE code % 2 = 1`, effect(errandKind) + ` AND who LIKE '` + foreignConsumer + `.%'`, ""},
		{"state of an order", states + `'order-%'`, effect(latestGroup), ""},
	}
	if r.topic() {
		for _, group := range topicGroups {
			all = append(all, expected{"state of a public order, for the " + group + ",", states + `'public-%'`, effect(group), group})
		}
	}
	return all
}

// What can be said of a message.
const (
	wasCommitted = "was committed"
	tookEffect   = "took effect"
)

// unseen says what none of a kind can be said of; "" where some were committed, and took
// effect.
func (r *run) unseen(ctx context.Context, x expected) (string, error) {
	for _, look := range []struct {
		d          *database
		rows, done string
	}{{r.producerDB, x.committed, wasCommitted}, {r.consumerDB, `{effect} WHERE ` + x.effects, tookEffect}} {
		switch _, err := look.d.number(ctx, `SELECT 1 FROM `+look.rows+` LIMIT 1`); {
		case errors.Is(err, sql.ErrNoRows):
			return look.done, nil
		case err != nil:
			return "", err
		}
	}
	return "", nil
}

// seeAll lets the producers go on until there has been some of each kind, so that a short run
// has all, and one whose broker or database was away most of the time. Who is away for now
// cannot be waited for. It gives up when no further kind has come, and the backlog has not
// become shorter, for as long as patience; the verdict says what that means.
func (r *run) seeAll(ctx context.Context) error {
	left := r.expects()
	if a := r.absentNow(); a != nil {
		left = slices.DeleteFunc(left, func(x expected) bool { return x.group == a.who.Name })
	}
	// Not each transaction has each kind.
	limit := r.patience() + rounds*r.o.Pace
	shortest := int64(-1) // that the backlog was
	for idle := (supervisor.Stopwatch{}); ; {
		kinds := len(left)
		var failed error
		left = slices.DeleteFunc(left, func(x expected) bool {
			unseen, err := r.unseen(ctx, x)
			failed = errors.Join(failed, err)
			return err == nil && unseen == ""
		})
		if len(left) == 0 {
			r.note("there has been some of each kind of message")
			return nil
		}
		if len(left) < kinds {
			idle.Reset()
		}
		if backlog, err := r.producerDB.number(ctx, `SELECT count(*) FROM {qmessage}`); err == nil && (shortest < 0 || backlog < shortest) {
			shortest = backlog
			idle.Reset()
		}
		if idle.Time() > limit {
			r.note("no %s has come, nor %d other kinds: %v", left[0].what, len(left)-1, failed)
			return failed
		}
		if backoff.Sleep(ctx, seeEvery); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

const (
	seeEvery = 50 * time.Millisecond
	rounds   = 10 // of transactions, after which it is certain that the dice had each kind
)

// checkSeen: of each kind of message some were committed, and some took effect, be it that a
// restore has undone that since.
func (r *run) checkSeen(ctx context.Context, c *checker) error {
	for _, x := range r.expects() {
		unseen, err := r.unseen(ctx, x)
		if err != nil {
			return err
		}
		wasThere := func(e effectName) bool { return x.group != "" && e.kind == x.group }
		if unseen == tookEffect && slices.ContainsFunc(slices.Collect(maps.Keys(c.undone.effects)), wasThere) {
			continue
		}
		if unseen != "" {
			c.add(violation{check: "unseen", text: fmt.Sprintf("no %s %s", x.what, unseen)})
		}
	}
	return nil
}
