package relay

import (
	"cmp"
	"context"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/turn"
)

// The first batch of a lane over a connection may be to a queue that has to be made. That takes
// a broker far longer than a message, and what is asked of it over one connection, or of its
// management, it does one by one: behind thousands of queues that are made at once would wait
// what is sent to those that are there. So only a few lanes at a time may have a queue made,
// and where the broker can say that a queue exists, its lane waits for none of these.

const (
	// makersMost is how many lanes at a time may have a queue made.
	makersMost = 8
	// lookersMost is how many may ask whether their queue exists, which is quick.
	lookersMost = 256
	// turnTime is after how long a lane that is still at it counts no more: its destination
	// may block its producers.
	turnTime = time.Second
)

// publishFirst is publishMessages for a destination that has taken nothing over this connection
// yet. A first message, which asks that no queue is made for it, finds out whether there is one.
func (l *lane) publishFirst(ctx context.Context, conn broker.Conn, messages []broker.Message) (results []broker.Result, timedOut bool, err error) {
	if l.t.r.broker.Capabilities().MustExist {
		first := messages[0]
		first.MustExist = true
		results, timedOut, err = l.publishInTurn(ctx, conn, l.t.lookers, []broker.Message{first})
		switch fate := results[0].Fate; {
		case err != nil || timedOut || fate == broker.Unknown:
			return unsent(results, messages, results[0].Err), timedOut, err
		case fate == broker.Refused:
			results = nil
		case len(messages) == 1:
			return results, false, nil
		case fate == broker.Confirmed:
			rest, timedOut, err := l.publishMessages(ctx, conn, messages[1:])
			return append(results, rest...), timedOut, err
		}
	}
	rest, timedOut, err := l.publishInTurn(ctx, conn, l.t.makers, messages[len(results):])
	return append(results, rest...), timedOut, err
}

// publishInTurn is publishMessages when it is this lane's turn.
func (l *lane) publishInTurn(ctx context.Context, conn broker.Conn, line *turn.Line, messages []broker.Message) (results []broker.Result, timedOut bool, err error) {
	leave, ok := line.Enter(ctx, conn.Done())
	if !ok {
		return unsent(nil, messages, cmp.Or(ctx.Err(), conn.Err())), false, conn.Err()
	}
	defer leave()
	return l.publishMessages(ctx, conn, messages)
}

// unsent adds the results of those messages that were not sent.
func unsent(results []broker.Result, messages []broker.Message, why error) []broker.Result {
	for len(results) < len(messages) {
		results = append(results, broker.Result{Fate: broker.Refused, Err: why})
	}
	return results
}
