package main

import (
	"context"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/sqlite"
)

// breaker pauses a destination for a moment with each message that is rejected.
var breaker = waybill.Breaker{InARow: 1, For: 50 * time.Millisecond}

// relay leads until ctx ends.
func (p *part) relay(ctx context.Context) error {
	o := relay.Options{
		Producer: "shop", Poll: 10 * time.Millisecond, Lease: 300 * time.Millisecond, Sweep: 50 * time.Millisecond,
		MinResend: 100 * time.Millisecond, FirstResend: 100 * time.Millisecond, MaxResend: 500 * time.Millisecond,
		MinRetry: 20 * time.Millisecond, MaxRetry: 100 * time.Millisecond, PausesEvery: 20 * time.Millisecond,
	}
	if p.rough {
		// A window that is soon full, consumers that are counted, and a breaker.
		o.Destinations = map[string]relay.Destination{
			"payments": {Window: 2},
			"orders":   {Consumers: []string{"depot"}},
			"news":     {Consumers: []string{"auditor", "depot"}, Window: 2},
			"trouble":  {Breaker: breaker},
		}
	}
	r, err := relay.New(p.db, sqlite.Dialect(), p.broker, &o)
	if err != nil {
		return err
	}
	if !p.rough {
		return r.Run(ctx)
	}
	other, err := relay.New(p.db, sqlite.Dialect(), p.broker, &o) // one of them stands by
	if err != nil {
		return err
	}
	return runAll(ctx, r.Run, other.Run)
}
