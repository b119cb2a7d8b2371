package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// foreignBatch is how many messages a foreign producer writes at a time.
const foreignBatch = 24

// foreign has a foreign producer, which knows nothing of receipts, write to the run's own
// destinations: messages that nobody can read, such as their handlers fail with or reject,
// and good ones. What a queue's consumers do with them must not harm what is ours.
func (n *nemesis) foreign(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("foreign")
	if !ok {
		return
	}
	defer release()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	confirmed, err := n.publishForeign(limited, dice)
	if confirmed > 0 {
		n.count("foreign")
	}
	n.note("a foreign producer wrote %d messages", confirmed)
	if err != nil {
		n.note("what it wrote last failed: %v", err) // the broker may be away
	}
}

// publishForeign returns how many messages the broker has confirmed.
func (n *nemesis) publishForeign(ctx context.Context, dice *rand.Rand) (confirmed int, err error) {
	b, err := openBroker(command{Name: "foreign", Broker: n.brokerAddr, Dir: n.embeddedDir()})
	if err != nil {
		return 0, err
	}
	conn, err := b.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	for range foreignBatch {
		m, visit := n.foreignMessage(dice)
		bare := len(m.Headers) == 0 && !b.Capabilities().Identity
		n.noteVisit(visit, visitor{bare: bare})
		results, err := conn.Publish(ctx, []broker.Message{m}, waybill.Durable)
		if err != nil {
			return confirmed, err
		}
		if results[0].Fate == broker.Confirmed {
			confirmed++
			n.noteVisit(visit, visitor{must: visit != nil && visit.Fails == 0, bare: bare})
		}
	}
	return confirmed, nil
}

// foreignMessage makes a message. visit is what a handler finds in it, where it has one to
// find.
func (n *nemesis) foreignMessage(dice *rand.Rand) (m broker.Message, visit *payload) {
	to := destinationsOf(n.name)
	queues := []string{to.Transfers, to.Quick, to.Parcels, to.Orders, to.Notices}
	if n.topic() {
		queues = append(queues, to.Public)
	}
	m.Destination = queues[dice.IntN(len(queues))]
	m.Topic = m.Destination == to.Public
	m.Body = parcelBody(dice)
	header := func(name, value string) { m.Headers = append(m.Headers, broker.Header{Name: name, Value: value}) }
	kind := dice.IntN(6)
	if kind > 0 && kind < 5 { // else it is nobody's
		header("messageId", waybill.NewID().String())
	}
	switch kind {
	case 0, 1: // a body that no handler reads
	case 2:
		header([]string{"timeStamp", "sequence", "attempt"}[dice.IntN(3)], "-1e3")
	case 3:
		header("receiptTo", to.Transfers) // where nobody may be answered
	default:
		all := []string{to.Transfers, to.Quick, to.Orders}
		if kind == 5 {
			all = all[:2] // what is wanted once; the latest state needs a key
		}
		m.Destination, m.Topic = all[dice.IntN(len(all))], false
		visit = &payload{Foreign: fmt.Sprintf("foreign-%x", dice.Uint64()), Fails: max(dice.IntN(8)-3, 0), GivesUp: dice.IntN(4) == 0}
		m.Body, _ = json.Marshal(visit) // strings and numbers
		if kind == 5 {
			break // nothing of Waybill's, as a program sends it that has never heard of it
		}
		m.Key = visit.Foreign
		header("businessMark", m.Key)
		header("timeStamp", strconv.FormatInt(time.Now().UnixMicro(), 10))
	}
	return m, visit
}

// visitor is a foreign message that may take effect.
type visitor struct {
	// must: it has to have its effect, or to be kept. What a handler fails with may still be
	// on its way in the end.
	must bool
	// bare: nothing tells its copies from others, neither its headers nor the broker, so that
	// it may take effect again.
	bare bool
}

// noteVisit notes a message that may take effect, if it is one.
func (r *run) noteVisit(p *payload, v visitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p != nil {
		r.visits[p.Foreign] = v
	}
}

// visit handles a foreign message: it fails as often as that says, in this process.
func (c *consumer) visit(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	if err := c.effect(ctx, tx, m, foreignKind, p.Foreign, p); err != nil {
		return err
	}
	c.mu.Lock()
	c.failed[p.Foreign]++
	fails := c.failed[p.Foreign] <= p.Fails
	c.mu.Unlock()
	switch {
	case fails:
		return errors.New("a foreign message's failure")
	case p.GivesUp:
		return waybill.Permanent(errors.New("a foreign message that is not taken"))
	}
	return nil
}

// checkForeign: no foreign message has two effects, if it can be told from others, and each
// has one or is kept by its consumer, where the broker keeps what it has confirmed.
func (c *checker) checkForeign(ctx context.Context) error {
	all, must, bare := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for name, v := range c.visits {
		all[name] = true
		if v.must && c.trusted {
			must[name] = true
		}
		if v.bare {
			bare[name] = true
		}
	}
	err := c.consumerDB.each(ctx, `SELECT message_content FROM {n_rejected}`, func(rows *sql.Rows) error {
		var body []byte
		var p payload
		err := rows.Scan(&body)
		if json.Unmarshal(body, &p) == nil { // else it is none that may take effect
			delete(must, p.Foreign)
		}
		return err
	})
	if err != nil {
		return err
	}
	applied := c.Applied
	_, err = c.checkOnce(ctx, foreignKind, ofKind{committed: all, must: must, again: bare})
	c.Foreign, c.Applied = c.Applied-applied, applied
	return err
}
