package brokertest

import (
	"errors"
	"slices"

	"github.com/waybill-go/waybill/broker"
)

var settleCases = []testCase{
	{name: "what is not settled comes again when its receiver closes", run: unsettledAfterReceiver},
	{name: "what is not settled comes again when its connection closes", run: unsettledAfterConn},
	{name: "what was never handed out comes again too", run: bufferedComesAgain},
	{name: "what a subscriber gives up reaches another one that waits", run: passesOn},
	{name: "what is settled does not come again", run: settledStays},
	{name: "messages are settled by several goroutines and out of order", run: settledAnyhow},
	{name: "settling none is no error", run: settleNone},
	{name: "a message that is requeued comes again, or the adapter says that it cannot", run: requeue},
	{name: "a dead letter does not come again, or the adapter says that it cannot", run: deadLetter},
	{name: "one connection may subscribe to a queue again", run: subscribeAgain},
}

// half receives all n messages of a queue, acknowledges every second one and returns the
// bodies of the others. With a broker that is Cumulative it acknowledges the first half.
func (r *rig) half(receiver broker.Receiver, n int) (unsettled []string) {
	r.Helper()
	deliveries := r.receive(receiver, n)
	var settle []broker.Delivery
	for i, d := range deliveries {
		settled := i%2 == 0
		if r.caps.Cumulative {
			settled = i < n/2
		}
		if settled {
			settle = append(settle, d)
		} else {
			unsettled = append(unsettled, string(d.Body))
		}
	}
	r.settle(receiver, settle, broker.Ack)
	return unsettled
}

func unsettledAfterReceiver(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, messages(queue, "m", 40)...)
	receiver := r.subscribe(c, queue, 100)
	want := r.half(receiver, 40)
	r.close(receiver)
	r.left(queue, want)
}

func unsettledAfterConn(r *rig) {
	queue := r.name()
	r.publish(r.connect(), messages(queue, "m", 40)...)
	c := r.connect()
	want := r.half(r.subscribe(c, queue, 100), 40)
	r.close(c)
	r.left(queue, want)
}

func bufferedComesAgain(r *rig) {
	queue := r.name()
	ms := messages(queue, "m", 100)
	r.publish(r.connect(), ms...)
	c := r.connect()
	receiver := r.subscribe(c, queue, 100)
	first := r.receive(receiver, 1) // the others are on their way, or wait in the receiver
	r.settle(receiver, first, broker.Ack)
	r.close(receiver)
	receiver = r.subscribe(c, queue, 30)
	second := r.receive(receiver, 1)
	r.settle(receiver, second, broker.Ack)
	r.close(c)
	gone := append(bodies(first), bodies(second)...)
	r.left(queue, slices.DeleteFunc(bodiesOf(ms), func(body string) bool { return slices.Contains(gone, body) }))
}

func passesOn(r *rig) {
	queue := r.name()
	holder, other := r.connect(), r.connect()
	holding := r.subscribe(holder, queue, 100)
	ms := messages(queue, "m", 30)
	r.publish(r.connect(), ms...)
	r.receive(holding, 30)
	waiting := r.subscribe(other, queue, 100)
	type result struct {
		deliveries []broker.Delivery
		err        error
	}
	results := make(chan result, 1)
	ctx, cancel := r.patient()
	defer cancel()
	go func() {
		deliveries, err := waiting.Receive(ctx, 30)
		results <- result{deliveries, err}
	}()
	r.close(holding)
	first := <-results
	if first.err != nil {
		r.Fatalf("Receive: %v; want what the other subscriber gave up", first.err)
	}
	got := append(first.deliveries, r.receive(waiting, 30-len(first.deliveries))...)
	r.settle(waiting, got, broker.Ack)
	r.same(bodies(got), bodiesOf(ms))
	r.nothing(waiting)
}

func settledStays(r *rig) {
	queue := r.name()
	r.publish(r.connect(), messages(queue, "m", 500)...)
	// Each part is settled and its connection closed at once: the broker has to get the
	// acknowledgements all the same.
	for range 5 {
		c := r.connect()
		receiver := r.subscribe(c, queue, 100)
		r.settle(receiver, r.receive(receiver, 100), broker.Ack)
		r.close(c)
	}
	r.left(queue, nil)
	r.publish(r.connect(), message(queue, "last"))
	r.left(queue, []string{"last"})
}

func settledAnyhow(r *rig) {
	queue := r.name()
	ms := messages(queue, "m", 600)
	r.publish(r.connect(), ms...)
	c := r.connect()
	receiver := r.subscribe(c, queue, 600)
	deliveries := r.receive(receiver, 600)
	const goroutines = 6
	errs := make(chan error, goroutines)
	ctx, cancel := r.patient()
	defer cancel()
	for g := range goroutines {
		go func() {
			var err error
			for i := len(deliveries) - 1 - g; i >= 0 && err == nil; i -= goroutines {
				err = receiver.Settle(ctx, deliveries[i:i+1], broker.Ack)
			}
			errs <- err
		}()
	}
	for range goroutines {
		if err := <-errs; err != nil {
			r.Fatalf("Settle: %v; want no error", err)
		}
	}
	r.same(bodies(deliveries), bodiesOf(ms))
	r.nothing(receiver)
	r.close(c)
	r.left(queue, nil)
}

func settleNone(r *rig) {
	receiver := r.subscribe(r.connect(), r.name(), 10)
	r.settle(receiver, nil, broker.Ack)
}

func requeue(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 10)
	r.publish(c, ms...)
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, 10)
	if !r.caps.Requeue {
		r.unsupported(receiver, deliveries[:1], broker.Requeue)
		r.settle(receiver, deliveries, broker.Ack)
		return
	}
	r.settle(receiver, deliveries[:5], broker.Requeue)
	r.settle(receiver, deliveries[5:], broker.Ack)
	again := r.receive(receiver, 5)
	r.same(bodies(again), bodies(deliveries[:5]))
	r.settle(receiver, again, broker.Ack)
	r.nothing(receiver)
	r.close(c)
	r.left(queue, nil)
}

func deadLetter(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, messages(queue, "m", 10)...)
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, 10)
	if !r.caps.DeadLetter {
		r.unsupported(receiver, deliveries[:1], broker.DeadLetter)
		r.settle(receiver, deliveries, broker.Ack)
		return
	}
	r.settle(receiver, deliveries[:5], broker.DeadLetter)
	r.settle(receiver, deliveries[5:], broker.Ack)
	r.nothing(receiver)
	r.close(c)
	r.left(queue, nil)
}

// unsupported checks that a disposition is refused as the contract says, and
// that the message can still be settled.
func (r *rig) unsupported(receiver broker.Receiver, deliveries []broker.Delivery, d broker.Disposition) {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	if err := receiver.Settle(ctx, deliveries, d); !errors.Is(err, errors.ErrUnsupported) {
		r.Errorf("Settle with a disposition that %s does not declare: %v; want errors.ErrUnsupported", r.caps.Name, err)
	}
}

func subscribeAgain(r *rig) {
	c, queue := r.connect(), r.name()
	for round := range 5 {
		receiver := r.subscribe(c, queue, 10)
		ms := messages(queue, string(rune('a'+round)), 10)
		r.publish(c, ms...)
		r.same(r.drain(receiver, 10, 3), bodiesOf(ms))
		r.close(receiver)
		r.close(receiver)
	}
}
