package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker"
)

// replies receives JetStream's confirmations and sets the results of their messages. The
// subject of a confirmation names the batch and the message.
type replies struct {
	c      *conn
	prefix string

	mu      sync.Mutex // taken before the window's
	last    uint64
	batches map[uint64]*batch
	denied  error // the last error over a missing permission
}

// batch is what one Publish waits for. The lock of replies guards it.
type batch struct {
	id       uint64
	results  []broker.Result
	sent     []sent    // by position, as results
	open     int       // messages without a fate
	progress time.Time // when a message last got its fate
	finished chan struct{}
}

// sent is what is known of one message.
type sent struct {
	place    *place
	size     int
	before   int  // the message before it that its reply stands for too; -1 for none
	underWay bool // it is under way and takes room in the window
}

// listen subscribes to the confirmations.
func (r *replies) listen(c *conn) error {
	r.c = c
	r.batches = map[uint64]*batch{}
	r.prefix = c.nc.NewInbox() + "."
	sub, err := c.nc.Subscribe(r.prefix+"*", r.confirm)
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(-1, -1)
}

// expect registers a batch of messages that have no fate yet.
func (r *replies) expect(ready []outgoing, results []broker.Result) *batch {
	b := &batch{results: results, sent: make([]sent, len(results)), open: len(ready), progress: time.Now(), finished: make(chan struct{})}
	for _, o := range ready {
		b.sent[o.at] = sent{place: o.place, size: o.size, before: -1}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	b.id = r.last
	r.batches[b.id] = b
	return b
}

// sending notes that the messages of a chunk are about to be sent, and gives a reply
// subject to those that ask for a confirmation: to each, or of transient ones to the last
// for each destination, whose confirmation stands for those before it.
func (r *replies) sending(b *batch, ready []outgoing, transient bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	latest := map[*place]*outgoing{}
	for i := range ready {
		o := &ready[i]
		s := &b.sent[o.at]
		s.underWay = true
		o.msg.Reply = r.subject(b, o.at)
		if transient {
			if before := latest[o.place]; before != nil {
				before.msg.Reply = ""
				s.before = before.at
			}
			latest[o.place] = o
		}
	}
}

// subject is the subject of a message's confirmation.
func (r *replies) subject(b *batch, at int) string {
	buf := make([]byte, 0, 64)
	buf = append(buf, r.prefix...)
	buf = strconv.AppendUint(buf, b.id, 36)
	buf = append(buf, '-')
	buf = strconv.AppendInt(buf, int64(at), 36)
	return string(buf)
}

// confirm reads a reply. One for a batch that has been abandoned is ignored.
func (r *replies) confirm(msg *natsgo.Msg) {
	id, place, ok := strings.Cut(strings.TrimPrefix(msg.Subject, r.prefix), "-")
	if !ok {
		return
	}
	number, err := strconv.ParseUint(id, 36, 64)
	if err != nil {
		return
	}
	at, err := strconv.ParseInt(place, 36, 32)
	if err != nil {
		return
	}
	result, missing := fate(msg)
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.batches[number]
	if b == nil || at < 0 || int(at) >= len(b.sent) {
		return
	}
	if missing {
		r.c.forget(b.sent[at].place)
	}
	r.settle(b, int(at), result)
}

// refuse sets the fate of a message that the client did not take.
func (r *replies) refuse(b *batch, at int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := b.sent[at].before
	b.sent[at].before = -1
	r.settle(b, at, broker.Result{Fate: broker.Unacceptable, Err: err})
	if before >= 0 {
		r.settle(b, before, broker.Result{Err: fmt.Errorf("the message that was to confirm it was not sent: %w", err)})
	}
}

// deny reads an error that the server sent without being asked. Where publishing to a
// subject is not allowed, it sends one for each message, and no reply.
func (r *replies) deny(err error) {
	if !errors.Is(err, natsgo.ErrPermissionViolation) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denied = err
	for _, b := range r.batches {
		for at := range b.sent {
			if s := &b.sent[at]; s.underWay && strings.Contains(err.Error(), strconv.Quote(s.place.subject)) {
				s.before = -1
				r.settle(b, at, broker.Result{Fate: broker.Refused, Err: err})
			}
		}
	}
}

// settle sets the fate of a message and of those that its reply stands for. It needs the
// lock.
func (r *replies) settle(b *batch, at int, result broker.Result) {
	n, size := 0, 0
	for ; at >= 0; at = b.sent[at].before {
		s := &b.sent[at]
		if !s.underWay {
			return // a second reply
		}
		s.underWay = false
		n++
		size += s.size
		b.results[at] = result
	}
	b.progress = time.Now()
	r.c.window.put(n, size)
	if b.open -= n; b.open == 0 {
		close(b.finished)
	}
}

// abandon ends a batch: from now on its results are the caller's.
func (r *replies) abandon(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.batches, b.id)
	n, size := 0, 0
	for i := range b.sent {
		if b.sent[i].underWay {
			n++
			size += b.sent[i].size
		}
	}
	r.c.window.put(n, size)
}

// idle is how long ago a message of the batch last got its fate, and the last error over a
// missing permission.
func (r *replies) idle(b *batch) (idle time.Duration, denied error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(b.progress), r.denied
}

// errNoStream is what it means when nobody answers at a subject.
var errNoStream = fmt.Errorf("%w: no stream of the server takes the subject, or JetStream is not enabled there", broker.ErrNoQueue)

// fate reads JetStream's answer to a message. missing reports that there is no stream.
func fate(msg *natsgo.Msg) (result broker.Result, missing bool) {
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		return broker.Result{Fate: broker.Refused, Err: errNoStream}, true
	}
	if !bytes.Contains(msg.Data, []byte(`"error"`)) && bytes.Contains(msg.Data, []byte(`"stream"`)) {
		return broker.Result{Fate: broker.Confirmed}, false
	}
	var answer struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return broker.Result{Err: fmt.Errorf("the server's answer is no confirmation: %.100q", msg.Data)}, false
	}
	switch {
	case answer.Error == nil && answer.Stream != "":
		return broker.Result{Fate: broker.Confirmed}, false
	case answer.Error == nil:
		return broker.Result{Err: fmt.Errorf("the server's answer is no confirmation: %.100q", msg.Data)}, false
	case answer.Error.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return broker.Result{Fate: broker.Unacceptable, Err: answer.Error}, false
	}
	return broker.Result{Fate: broker.Refused, Err: answer.Error}, false
}
