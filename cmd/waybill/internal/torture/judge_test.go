package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/waybill-go/waybill/store"
)

// court is a run that has ended, with databases that a test fills.
type court struct {
	*run
	t *testing.T
}

func newCourt(t *testing.T) *court {
	t.Helper()
	r := &run{dir: t.TempDir(), prefix: "torture_", chosen: selection{}}
	for _, x := range []struct {
		side store.Side
		b    **books
	}{{store.Producer, &r.producerBooks}, {store.Consumer, &r.consumerBooks}} {
		b, err := openBooks("sqlite:"+filepath.Join(r.dir, string(x.side)+".db"), r.prefix)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		if err := b.make(t.Context(), x.side, true); err != nil {
			t.Fatal(err)
		}
		*x.b = b
	}
	return &court{r, t}
}

func (c *court) exec(b *books, query string, args ...any) {
	c.t.Helper()
	if _, err := b.Exec(b.sql(query), args...); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
}

// producer and consumer run a statement each.
func (c *court) producer(query string, args ...any) {
	c.t.Helper()
	c.exec(c.producerBooks, query, args...)
}
func (c *court) consumer(query string, args ...any) {
	c.t.Helper()
	c.exec(c.consumerBooks, query, args...)
}

// transfer commits a transfer of 10 and, so many times, its effect.
func (c *court) transfer(token string, effects int) {
	c.t.Helper()
	id := token + "-0"
	c.producer(`INSERT INTO {transfer} VALUES (?, 'account-0000', 'account-0001', 10, 'm')`, id)
	c.producer(`UPDATE {account} SET balance = balance - 10 WHERE id = 'account-0000'`)
	c.producer(`UPDATE {account} SET balance = balance + 10 WHERE id = 'account-0001'`)
	for range effects {
		c.consumer(`UPDATE {book} SET balance = balance - 10 WHERE id = 'account-0000'`)
		c.consumer(`UPDATE {book} SET balance = balance + 10 WHERE id = 'account-0001'`)
		c.effect("transfer", id, 0, token, 0)
	}
}

func (c *court) effect(kind, ref string, version int64, token string, sequence int64) {
	c.t.Helper()
	c.consumer(`INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who) VALUES (?, ?, ?, ?, 'm', ?, ?, 0, 0, 'test')`,
		kind, ref, version, token, sequence, 100+sequence)
}

// order commits a state of an order.
func (c *court) order(version int64, token string) {
	c.t.Helper()
	c.state("order-00", version, token)
}

func (c *court) state(order string, version int64, token string) {
	c.t.Helper()
	c.producer(`UPDATE {orders} SET version = ? WHERE id = ?`, version, order)
	c.producer(`INSERT INTO {order_state} VALUES (?, ?, ?, 'm')`, order, version, token)
}

// holds has the consumer take a state of the order.
func (c *court) holds(version int64, token string) {
	c.t.Helper()
	c.takes("order-00", version, token)
}

// takes has the keeper of an order take a state.
func (c *court) takes(order string, version int64, token string) {
	c.t.Helper()
	c.consumer(`UPDATE {held} SET version = ?, token = ? WHERE id = ?`, version, token, order)
	c.effect(keeperOf(order), order, version, token, version)
}

// audits has the audit take a state.
func (c *court) audits(order string, version int64, token string) {
	c.t.Helper()
	c.effect(auditGroup, auditRef(state{order, version}), version, token, version)
}

// journals writes what a producer knows.
func (c *court) journals(lines ...string) {
	c.t.Helper()
	text := ""
	for _, line := range lines {
		text += line + "\n"
	}
	if err := os.WriteFile(filepath.Join(c.dir, "producer-1.1.journal"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// sound is a run in which nothing is wrong: three transactions, one of them unknown,
// and two states that were superseded, one of them of a public order.
func (c *court) sound() {
	c.t.Helper()
	c.transfer("a", 1)
	c.order(1, "a")
	c.order(2, "b")
	c.order(3, "u")
	c.holds(2, "b")
	c.holds(3, "u")
	c.state("public-01", 1, "a")
	c.state("public-01", 2, "b")
	c.takes("public-01", 2, "b")
	c.audits("public-01", 2, "b")
	c.audits("public-01", 1, "a")
	c.journals("a begun", "a committed", "b begun", "b committed", "r rolled-back", "u begun", "v begun", "v unknown")
}

func TestASoundRunIsFoundSound(t *testing.T) {
	c := newCourt(t)
	c.sound()
	v, err := c.judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !v.ok() || v.Sent != 6 || v.Applied != 4 || v.Superseded != 2 || v.RolledBack != 1 || v.Unknown != 2 {
		t.Errorf("%+v", v)
	}
}

func TestEachCheckerFindsItsFault(t *testing.T) {
	for _, x := range []struct {
		name  string
		spoil func(c *court)
		want  []string // checkers
	}{
		{"a transfer without its effect", func(c *court) { c.transfer("b", 0) }, []string{"conservation", "lost"}},
		{"a transfer with two effects", func(c *court) { c.transfer("b", 2) }, []string{"conservation", "doubled"}},
		{"an effect of nothing", func(c *court) { c.effect("transfer", "x-0", 0, "x", 0) }, []string{"phantom"}},
		{"an effect of a state that was rolled back", func(c *court) { c.holds(4, "r") }, []string{"phantom"}},
		{"a state's effect under another transaction", func(c *court) { c.effect(latestGroup, "order-00", 1, "r", 1) }, []string{"phantom"}},
		{"an older state after a newer one", func(c *court) { c.effect(latestGroup, "order-00", 1, "a", 1) }, []string{"stale"}},
		{"an older state in the newest one's place", func(c *court) { c.holds(1, "a") }, []string{"lost", "stale"}},
		{"a state that took effect twice", func(c *court) { c.holds(3, "u") }, []string{"doubled"}},
		{"the newest state missing", func(c *court) { c.order(4, "b") }, []string{"lost"}},
		{"a public order's newest state missing", func(c *court) {
			c.state("public-01", 3, "b")
			c.audits("public-01", 3, "b")
		}, []string{"lost"}},
		{"a public order's state missing from the audit", func(c *court) {
			c.state("public-01", 3, "b")
			c.takes("public-01", 3, "b")
		}, []string{"lost"}},
		{"a state twice in the audit", func(c *court) { c.audits("public-01", 1, "a") }, []string{"doubled"}},
		{"a state in the audit that nobody committed", func(c *court) { c.audits("public-01", 3, "r") }, []string{"phantom"}},
		{"a state in the audit that was not sent to it", func(c *court) { c.audits("order-00", 3, "u") }, []string{"phantom"}},
		{"a public order's older state after a newer one", func(c *court) { c.effect(mirrorGroup, "public-01", 1, "a", 1) }, []string{"stale"}},
		{"a state that is held without its effect", func(c *court) {
			c.order(4, "b")
			c.consumer(`UPDATE {held} SET version = 4 WHERE id = 'order-00'`)
		}, []string{"lost"}},
		{"a state at a consumer to which it was not sent", func(c *court) { c.effect(mirrorGroup, "order-00", 3, "u", 3) }, []string{"phantom"}},
		{"a wrong sequence", func(c *court) {
			c.order(4, "b")
			c.holds(4, "b")
			c.consumer(`UPDATE {effect} SET sequence = 9 WHERE version = 4`)
		}, []string{"sequence"}},
		{"time stamps out of order", func(c *court) {
			c.order(4, "b")
			c.holds(4, "b")
			c.consumer(`UPDATE {effect} SET time_stamp = 1 WHERE version = 4`)
		}, []string{"sequence"}},
		{"money from nowhere", func(c *court) { c.consumer(`UPDATE {book} SET balance = balance + 1 WHERE id = 'account-0007'`) }, []string{"conservation"}},
		{"a row left over", func(c *court) {
			c.producer(`INSERT INTO {qmessage} (destination, message_content) VALUES ('x', x'00')`)
		}, []string{"leftover"}},
		{"a commit that its database has lost", func(c *court) { c.journals("a committed", "b committed", "u begun", "w committed") }, []string{"unsaved"}},
		{"a rollback that its database has", func(c *court) { c.journals("a committed", "b rolled-back", "u begun") }, []string{"phantom"}},
		{"a transaction that nobody sent", func(c *court) { c.journals("a committed", "b committed") }, []string{"phantom"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCourt(t)
			c.sound()
			x.spoil(c)
			v, err := c.judge(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for checker, n := range v.Broken {
				if n > 0 {
					got = append(got, checker)
				}
			}
			slices.Sort(got)
			if fmt.Sprint(got) != fmt.Sprint(x.want) {
				t.Errorf("found %v, want %v: %v", got, x.want, v.Findings)
			}
			for _, f := range v.Findings {
				if _, err := c.history(t.Context(), f); err != nil {
					t.Errorf("history of %q: %v", f.text, err)
				}
			}
		})
	}
}

func TestALostNoticeIsTheBrokersWhereItWasToLoseThings(t *testing.T) {
	for _, chosen := range []selection{{}, {"messages": true}} {
		c := newCourt(t)
		c.chosen = chosen
		c.sound()
		c.producer(`INSERT INTO {notice} VALUES ('a-notice', 'm')`)
		v, err := c.judge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lost := v.Broken["lost"]; v.ok() == (len(chosen) == 0) || lost+v.Unkept != 1 {
			t.Errorf("%v: lost %d, unkept %d", chosen, lost, v.Unkept)
		}
	}
}

func TestABrokerIsTrustedUnlessItIsMadeToLoseThings(t *testing.T) {
	const command = "true"
	full := Options{BrokerFill: command, BrokerFree: command}
	robbed := Options{BrokerKill: command, BrokerStart: command, BrokerWipe: command}
	for _, x := range []struct {
		o        Options
		chosen   selection
		embedded bool
		want     bool
	}{
		{Options{}, selection{"kill": true, "broker": true}, false, true},
		{Options{}, selection{"messages": true}, false, false},
		{robbed, selection{"wipe": true}, false, false},
		{Options{}, selection{"wipe": true}, false, true}, // which then does not happen
		{Options{}, selection{"wipe": true}, true, false},
		{full, selection{"disk": true}, false, false},
		{Options{}, selection{"disk": true}, false, true},
		{Options{}, selection{"disk": true}, true, true},
	} {
		r := &run{o: x.o, chosen: x.chosen}
		if x.embedded {
			r.broker = &member{}
		}
		if got := r.brokerIsTrusted(); got != x.want {
			t.Errorf("%+v, embedded: %v: %v", x.chosen, x.embedded, got)
		}
	}
}

func TestFaultsAreChosenByName(t *testing.T) {
	for _, x := range []struct {
		names []string
		want  int // -1: an error
	}{
		{nil, len(Faults)},
		{[]string{"all"}, len(Faults)},
		{[]string{"kill", "pause"}, 2},
		{[]string{"-wipe"}, len(Faults) - 1},
		{[]string{"all", "-wipe", "-kill"}, len(Faults) - 2},
		{[]string{"none"}, 0},
		{[]string{"kil"}, -1},
		{[]string{""}, -1},
	} {
		chosen, err := choose(x.names)
		if (err != nil) != (x.want < 0) || err == nil && len(chosen) != x.want {
			t.Errorf("%q: %v, %v", x.names, chosen, err)
		}
	}
}

func TestAJournalsHalfLineIsAnUnknownTransaction(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.journal"), []byte("a begun\na committed\nb begun\nb commi"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := readJournals(dir)
	if err != nil || all["a"] != committed || all["b"] != unknown {
		t.Errorf("%v, %v", all, err)
	}
}
