// Package publish hands a batch of messages to a broker's connection within a time
// limit, for the relay and the inbox: call Batch.
package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Timeout bounds the publishing of one batch. A broker that takes longer blocks its
// producers on purpose, or the connection is half open: then nobody is answered.
const Timeout = 30 * time.Second

// ErrNotAnswered is the Err of a result for which the broker's answer did not come
// within Timeout.
var ErrNotAnswered = fmt.Errorf("the broker has not answered for %v: it may be out of disk or memory and block those who publish", Timeout)

// Batch publishes messages and returns one result for each, in their order: what the
// broker did not answer is broker.Unknown with the reason. timedOut says that Timeout
// was over while ctx was not. A connection that fails is the error, as
// broker.Conn.Publish returns it.
func Batch(ctx context.Context, conn broker.Conn, messages []broker.Message, transport waybill.Transport) (results []broker.Result, timedOut bool, err error) {
	limited, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	results, err = conn.Publish(limited, messages, transport)
	timedOut = limited.Err() != nil && ctx.Err() == nil
	for len(results) < len(messages) {
		results = append(results, broker.Result{Err: err})
	}
	for i := range results {
		if r := &results[i]; timedOut && r.Fate == broker.Unknown && errors.Is(r.Err, context.DeadlineExceeded) {
			r.Err = ErrNotAnswered
		}
	}
	return results, timedOut, err
}
