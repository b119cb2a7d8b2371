package waybilltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
)

// Twice shows that the messages' effect happens once: each is handled twice, since the first
// time its transaction is rolled back when the handler has returned, and then a copy of each
// is delivered. check, which is run after that, returns what is wrong with the effect; where it
// says something the test ends, and tells what was done. An effect outside of the transaction,
// such as a mail, happens twice here, as it may when a consumer's process dies. Where there is a
// Consumer.Reset it begins with that; otherwise check sees what was there before, too, as what
// another check has left.
//
// The messages are delivered as by Deliver. A handler that fails by itself, or rejects one,
// ends the test, too.
func Twice(t testing.TB, c Consumer, check func() error, messages ...waybill.Message) {
	t.Helper()
	if len(messages) == 0 {
		t.Fatal("waybilltest: Twice needs a message")
	}
	c.reset(t, c.Options.Consumer)
	messages, c.Options.MaxTries = asSent(t, messages), 0 // no run is the last one
	var broken bool                                       // the next run
	d := c.begin(t, &messages[0], func(next inbox.BatchHandler) inbox.BatchHandler {
		return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
			err := next(ctx, tx, messages)
			if err == nil && broken {
				broken = false
				return errUncommitted
			}
			return err
		}
	})
	defer d.end()
	var done []string
	for i := range messages {
		broken = true
		first := d.deliver(&messages[i])
		if first.Verdict == Skipped { // an older state
			done = append(done, fmt.Sprintf("message %d: skipped", i))
			continue
		}
		if first.Verdict != Retry || broken {
			d.fail(t, &first, i, "when it was delivered first")
		}
		second := d.deliver(&messages[i])
		if second.Verdict != Applied {
			d.fail(t, &second, i, "when it was delivered again, after its transaction was rolled back")
		}
		done = append(done, fmt.Sprintf("message %d: handled and rolled back, then handled and committed", i))
	}
	d.copies(t, messages)
	judge(t, check, strings.Join(append(done, "a copy of each: skipped"), "\n  "))
}

var errUncommitted = errors.New("waybilltest: the transaction is rolled back, as when the consumer's process dies before its commit")

// fail ends the test over what became of message i.
func (d *deliveries) fail(t testing.TB, got *Delivered, i int, when string) {
	t.Helper()
	what := got.Verdict.String()
	if got.Error != "" {
		what += ": " + got.Error
	}
	t.Fatalf("waybilltest: message %d was not applied %s: it was %s\n  %s%s", i, when, what, describe(&got.Message), d.warnings())
}

// warnings are what the inbox's log has warned of, but for what the checks do themselves.
func (d *deliveries) warnings() string {
	var all strings.Builder
	for line := range strings.Lines(d.log.tail()) {
		if !strings.Contains(line, "waybilltest: ") {
			all.WriteString("\n  " + strings.TrimSpace(line))
		}
	}
	if all.Len() == 0 {
		return ""
	}
	return "\n  the inbox's log:" + all.String()
}

// copies delivers another copy of each message, which has taken effect.
func (d *deliveries) copies(t testing.TB, messages []waybill.Message) {
	t.Helper()
	for i := range messages {
		if again := d.deliver(&messages[i]); again.Verdict != Skipped {
			t.Fatalf("waybilltest: a copy of message %d, which was handled before, was %s: %s\n  %s", i, again.Verdict, again.Error, describe(&again.Message))
		}
	}
}

// judge ends the test where the caller's check finds something wrong.
func judge(t testing.TB, check func() error, done string) {
	t.Helper()
	if err := check(); err != nil {
		t.Fatalf("waybilltest: the effect is wrong: %v\n  %s", err, done)
	}
}

const (
	// maxPermuted is of how many messages OutOfOrder tries all orders.
	maxPermuted = 4
	// shuffles is how many orders it tries of more, besides theirs and its reverse.
	shuffles = 24
)

// OutOfOrder shows that the messages' effect is the same in whatever order they come: all
// orders of up to four of them, and of more their own, its reverse and 24 others, the same in
// each run. Give them in the order in which they were sent: their time stamps grow in it. Each
// order begins with Consumer.Reset, and with records of its own; check returns what is wrong
// with its effect. A message that its handler wants to see later (waybill.RetryAfter, or any
// error) comes again when the others have come, as long as that gets on. A rejected one ends the
// test.
func OutOfOrder(t testing.TB, c Consumer, check func() error, messages ...waybill.Message) {
	t.Helper()
	if len(messages) < 2 {
		t.Fatalf("waybilltest: OutOfOrder needs two messages at least, and has %d", len(messages))
	}
	if c.Reset == nil {
		t.Fatal("waybilltest: OutOfOrder needs Consumer.Reset, which empties the service's own tables before each order")
	}
	messages, c.Options.MaxTries = asSent(t, messages), 0 // no run is the last one
	name := c.Options.Consumer
	for _, order := range orders(len(messages)) {
		c.reset(t, name)
		c.inOrder(t, check, messages, order)
	}
}

// orders are orders of n messages by their positions.
func orders(n int) (all [][]int) {
	own := make([]int, n)
	for i := range own {
		own[i] = i
	}
	if n <= maxPermuted {
		return permutations(own)
	}
	reverse := slices.Clone(own)
	slices.Reverse(reverse)
	all = [][]int{own, reverse}
	random := rand.New(rand.NewPCG(1, 2)) // a failure has to come again
	for range shuffles {
		all = append(all, random.Perm(n))
	}
	return all
}

// permutations are all orders of some numbers, their own first.
func permutations(of []int) (all [][]int) {
	if len(of) == 0 {
		return [][]int{nil}
	}
	for i, first := range of {
		for _, rest := range permutations(slices.Delete(slices.Clone(of), i, i+1)) {
			all = append(all, append([]int{first}, rest...))
		}
	}
	return all
}

// inOrder delivers messages in one order.
func (c *Consumer) inOrder(t testing.TB, check func() error, messages []waybill.Message, order []int) {
	t.Helper()
	d := c.begin(t, &messages[0], nil)
	defer d.end()
	var done []string
	for waiting := order; len(waiting) > 0; {
		var again []int
		for _, i := range waiting {
			got := d.deliver(&messages[i])
			done = append(done, fmt.Sprintf("message %d: %s", i, got.Verdict))
			switch got.Verdict {
			case Refused:
				d.fail(t, &got, i, "in this order:\n  "+strings.Join(done, "\n  "))
			case Retry:
				done[len(done)-1] += ": " + got.Error
				again = append(again, i)
			}
		}
		if len(again) == len(waiting) {
			t.Fatalf("waybilltest: nothing gets on in this order:\n  %s", strings.Join(done, "\n  "))
		}
		waiting = again
	}
	judge(t, check, "in this order:\n  "+strings.Join(done, "\n  "))
}

// maxStatements is how many statements a handler may run for Crashing.
const maxStatements = 1000

// Crashing shows that the messages' effect happens once, and whole, wherever their handler
// breaks off: for each message its connection is cut at the first statement of the handler, it
// is delivered again and cut at the second one, and so on, then at the commit, until a run
// passes. Then a copy of each is delivered. check, which is run after that, returns what is
// wrong with the effect. It begins with Consumer.Reset, as Twice does.
//
// A statement at which the connection is cut fails without having been run, and so do all
// behind it. A handler that goes on all the same and returns nil ends the test, and so does one
// that has a message rejected for that.
//
// The handler's tx is of a pool that takes its connections from Consumer.DB, through whatever
// driver that has; so statements that are prepared on another pool (tx.Stmt) do not work in it.
// Statements that the handler runs elsewhere are neither cut nor counted. Consumer.DB must
// let the inbox have as many connections as it needs, as ever.
func Crashing(t testing.TB, c Consumer, check func() error, messages ...waybill.Message) {
	t.Helper()
	if len(messages) == 0 {
		t.Fatal("waybilltest: Crashing needs a message")
	}
	c.reset(t, c.Options.Consumer)
	messages, c.Options.MaxTries = asSent(t, messages), 0 // no run is the last one
	x := &scissors{}
	pool := x.pool(c.DB)
	defer pool.Close()
	c.DB, c.Dialect = pool, cutDialect{c.Dialect}
	d := c.begin(t, &messages[0], x.around)
	defer d.end()
	var done []string
	for i := range messages {
		done = append(done, d.crash(t, x, i, &messages[i]))
	}
	d.copies(t, messages)
	judge(t, check, strings.Join(append(done, "a copy of each: skipped"), "\n  "))
}

// crash delivers message i until a run of its handler passes, and says what was done.
func (d *deliveries) crash(t testing.TB, x *scissors, i int, m *waybill.Message) string {
	t.Helper()
	done := fmt.Sprintf("message %d:", i)
	for at := 1; at <= maxStatements; at++ {
		x.set(at)
		got := d.deliver(m)
		switch {
		case got.Verdict == Skipped && at == 1: // an older state
			return done + " skipped"
		case got.Verdict == Applied && x.passed():
			return done + " applied"
		case x.swallowed:
			t.Fatalf("waybilltest: the handler of message %d has returned nil although its %s had failed: what it does besides would be committed without that\n  %s", i, x.where, describe(m))
		case got.Verdict == Refused:
			t.Fatalf("waybilltest: message %d was rejected because its %s had failed, which a further try may mend: %s\n  %s", i, x.where, got.Error, describe(m))
		case got.Verdict == Retry && x.where == "":
			d.fail(t, &got, i, "when its connection was not cut")
		case got.Verdict != Retry:
			t.Fatalf("waybilltest: message %d was %s when it was cut at its %s, want it tried again\n  %s", i, got.Verdict, x.where, describe(m))
		}
		done += "\n    cut at its " + x.where
	}
	t.Fatalf("waybilltest: the handler of message %d runs more than %d statements\n  %s", i, maxStatements, describe(m))
	return ""
}
