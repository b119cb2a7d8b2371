package relay

import (
	"context"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/guest"
)

// Observer hears what a relay does with messages. The relay's own goroutines call it,
// several at a time, and deliver nothing before it returns: it must not wait for anything. Where
// it panics, or ends its goroutine by runtime.Goexit as t.FailNow of a test does, the log has
// that, and the relay goes on.
// Package otelwaybill has one for OpenTelemetry.
type Observer interface {
	// Published hears of a batch that was handed to the broker, copies of what was sent
	// before included.
	Published(ctx context.Context, p Publication)
	// Answered hears of receipts for messages that are under way, in the order in which
	// they came. Those for messages that have no more to wait for, or that this relay has not
	// met since it leads, are left out; of named consumers, one may come again while others
	// are waited for.
	Answered(ctx context.Context, all []Answer)
}

// Publication is a batch that was handed to the broker. An Observer keeps and changes
// nothing of it.
type Publication struct {
	Destination string
	Topic       bool
	Began       time.Time // and ended when the Observer is called
	Messages    []broker.Message
	Results     []broker.Result // one for each message, at the same position
}

// Answer is a consumer's receipt.
type Answer struct {
	ID          waybill.ID
	Destination string
	Topic       bool
	Consumer    string
	Outcome     waybill.Outcome
	Error       string        // why it is not done, as the consumer says; often empty
	Last        bool          // all consumers have confirmed: the message's row goes
	Took        time.Duration // since the message was sent, or due; see Latency
}

// observe has Options.Observer hear something, if there is one.
func (r *Relay) observe(ctx context.Context, hear func(Observer)) {
	o := r.o.Observer
	if o == nil {
		return
	}
	ended := guest.Apart(func() { hear(o) }) // a lane or a term would end with its goroutine
	if ended == nil {
		return
	}
	times, due := r.repeats.Due("observer", ended.Error())
	switch stack := slog.String("stack", string(ended.Stack)); {
	case !due:
	case ended.Exited:
		r.log.ErrorContext(ctx, "Options.Observer has not returned; the relay goes on", slog.Int64("times", times), slog.String("error", ended.Error()), stack)
	default:
		r.log.ErrorContext(ctx, "Options.Observer has panicked; the relay goes on", slog.Int64("times", times), slog.String("error", "panic: "+ended.Error()), stack)
	}
}
