package relay

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/internal/wire"
)

// An outbox whose database was copied, as for a staging environment, has the identity of
// the first one. On one broker the relays of both receive from one queue and take each
// other's receipts. Nothing in the tables shows that, so a relay says on its own receipt
// queue who it is, and hears what others say there.

const (
	// helloEvery is the time between two hellos, give or take half of it: two relays that
	// spoke in turn would each get its own from a broker that serves its receivers in
	// turn.
	helloEvery = 5 * time.Second
	// twinEvery is the least time between two reports of a twin, in the log and in the
	// table, and twinRarely the greatest in the log.
	twinEvery, twinRarely = time.Minute, time.Hour
	// twinLimit bounds the report in the table.
	twinLimit = time.Second
)

// greet says hello until ctx ends. A hello that is lost is of no consequence. An outbox
// without an identity shares its receipt queue with others by its name alone.
func (t *term) greet(ctx context.Context, conn broker.Conn) {
	if t.older {
		return
	}
	queue := waybill.ReceiptQueue(t.r.o.Producer, t.identity)
	for ; ctx.Err() == nil; backoff.Sleep(ctx, helloEvery/2+rand.N(helloEvery)) {
		m := wire.EncodeHello(queue, wire.Hello{Holder: t.r.holder, Began: t.began, Now: t.databaseNow()})
		crash.Point("relay.hello.before")
		_, _, err := publish.Batch(ctx, conn, []broker.Message{m}, waybill.Transient)
		crash.Point("relay.hello.after")
		if err != nil && ctx.Err() == nil {
			t.log.DebugContext(ctx, "hello not taken by the broker", slog.Any("error", err))
		}
	}
}

// databaseNow is the database's clock, in µs, as far as it is known from the term's begin.
func (t *term) databaseNow() int64 { return t.began + time.Since(t.beganAt).Microseconds() }

// isNoReceipt reports whether a message on the receipt queue is of a kind of its own, and
// does what a hello asks for. A kind that this version does not know is no receipt either.
func (t *term) isNoReceipt(ctx context.Context, m *broker.Message) bool {
	kind, has := wire.KindOf(m)
	if !has || kind == wire.ReceiptKind {
		return false
	}
	if kind == wire.HelloKind {
		if hello, err := wire.DecodeHello(m); err == nil {
			t.hear(ctx, hello)
		}
	}
	return true
}

// hear takes a hello. One of ourselves, or of a relay that led before us, says nothing new;
// that one may have spoken for as long as its lease lasted.
func (t *term) hear(ctx context.Context, hello wire.Hello) {
	r := t.r
	if hello.Holder == r.holder || hello.Holder == "" || hello.Now <= t.began+r.o.Lease.Microseconds() {
		return
	}
	r.counters.twins.Add(1)
	r.twin.Store(&hello.Holder)
	now := time.Now()
	if now.Before(t.twinNoted) {
		return
	}
	t.twinNoted = now.Add(twinEvery)
	brief, cancel := context.WithTimeout(ctx, twinLimit) // receipts wait meanwhile, and somebody may have locked the row
	defer cancel()
	crash.Point("relay.twin.before")
	err := r.queue.NoteTwin(brief, hello.Holder)
	crash.Point("relay.twin.after")
	if err != nil {
		t.log.DebugContext(ctx, "twin not noted", slog.Any("error", err))
	}
	if now.Before(t.twinLogged) {
		return
	}
	t.twinPause = min(max(2*t.twinPause, twinEvery), twinRarely)
	t.twinLogged = now.Add(t.twinPause)
	t.log.ErrorContext(ctx, "another relay has this outbox's identity: its database is a copy, and the two take each other's receipts; give the copy an identity of its own (see 'The outbox's identity' in docs/protocol.md)",
		slog.String("identity", t.identity), slog.String("other", hello.Holder), slog.Time("leads_since", time.UnixMicro(hello.Began)))
}
