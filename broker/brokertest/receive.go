package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var receiveCases = []testCase{
	{name: "one subscriber receives in the order of publishing", skip: needsOrdered, run: inOrder},
	{name: "Receive returns what has arrived and no more than its limit", run: limits},
	{name: "Prefetch bounds what is received and not settled", run: prefetch},
	{name: "Receive ends with its context", run: receiveEnds},
	{name: "a Receive that ends with its context loses nothing", run: cancelledReceive},
	{name: "what Receive returned belongs to the caller", run: callerOwns},
	{name: "a message has one identity, each time it is delivered", skip: needsIdentity, run: identities},
	{name: "competing subscribers share a queue without doubling", run: competing},
	{name: "publishing and consuming go on at once on one connection", run: bothWays},
	{name: "acknowledging does not block while thousands of messages arrive", run: slowReceiver},
	{name: "many queues are received on one connection", run: manyQueues},
}

func needsIdentity(_ *Harness, c broker.Capabilities) string {
	if !c.Identity {
		return "Capabilities.Identity is not declared"
	}
	return ""
}

func identities(r *rig) {
	c, queue := r.connect(), r.name()
	same := messages(queue, "m", 1)[0]
	r.publish(c, same, same, same)
	receiver := r.subscribe(c, queue, 10)
	first := identitiesOf(r.receive(receiver, 3))
	seen := map[string]bool{}
	for _, i := range first {
		seen[i.String()] = true
		if i.IsZero() || i.Time.Year() < 2000 || i.Time.After(time.Now().Add(24*time.Hour)) {
			r.Errorf("a message's identity is %v, want one with the time at which it was published", i)
		}
	}
	if len(seen) != 3 {
		r.Errorf("three messages have the identities %v, want one each", first)
	}
	if err := receiver.Close(r.Context()); err != nil {
		r.Error(err)
	}
	receiver = r.subscribe(c, queue, 10)
	again := r.receive(receiver, 3)
	for _, i := range identitiesOf(again) {
		if !seen[i.String()] {
			r.Errorf("when it was delivered again a message has the identity %v, want one of %v", i, first)
		}
	}
	r.settle(receiver, again, broker.Ack)
}

func identitiesOf(deliveries []broker.Delivery) (all []broker.Identity) {
	for i := range deliveries {
		all = append(all, deliveries[i].Identity())
	}
	return all
}

func inOrder(r *rig) {
	c, queue := r.connect(), r.name()
	receiver := r.subscribe(c, queue, 200)
	ms := messages(queue, "m", 3000)
	var publishing sync.WaitGroup
	errs := make(chan error, 1)
	ctx, cancel := r.patient()
	defer cancel()
	publishing.Go(func() {
		for i := 0; i < len(ms); i += 300 {
			if err := publishAll(ctx, c, waybill.Durable, ms[i:i+300]); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	})
	got := r.drain(receiver, len(ms), 70)
	publishing.Wait()
	if err := <-errs; err != nil {
		r.Fatal(err)
	}
	r.ordered(got, bodiesOf(ms))
}

func limits(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, messages(queue, "m", 20)...)
	receiver := r.subscribe(c, queue, 100)
	var got []broker.Delivery
	for _, limit := range []int{1, 1, 3, 15} {
		deliveries := r.receiveSome(receiver, limit)
		if len(deliveries) > limit {
			r.Fatalf("Receive returned %d messages, want at most its limit of %d", len(deliveries), limit)
		}
		got = append(got, deliveries...)
	}
	got = append(got, r.receive(receiver, 20-len(got))...)
	r.same(bodies(got), bodiesOf(messages(queue, "m", 20)))
	r.settle(receiver, got, broker.Ack)
}

func prefetch(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 60)
	r.publish(c, ms...)
	gone := map[string]bool{}
	for _, prefetch := range []int{1, 7} {
		receiver := r.subscribe(c, queue, prefetch)
		held := r.receive(receiver, prefetch)
		r.nothing(receiver)
		for range 10 {
			r.settle(receiver, held[:1], broker.Ack)
			gone[string(held[0].Body)] = true
			held = append(held[1:], r.receive(receiver, 1)...)
		}
		r.nothing(receiver)
		r.settle(receiver, held, broker.Ack)
		for _, body := range bodies(held) {
			gone[body] = true
		}
		r.close(receiver)
	}
	r.left(queue, slices.DeleteFunc(bodiesOf(ms), func(body string) bool { return gone[body] }))
}

func receiveEnds(r *rig) {
	c, queue := r.connect(), r.name()
	receiver := r.subscribe(c, queue, 10)

	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Millisecond)
	deliveries, err := receiver.Receive(ctx, 10)
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) || deliveries != nil {
		r.Errorf("Receive on an empty queue: %d messages, error %v; want the context's", len(deliveries), err)
	}

	ctx, cancel = context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := receiver.Receive(ctx, 10)
		ended <- err
	}()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			r.Errorf("a cancelled Receive: %v; want the context's error", err)
		}
	case <-time.After(r.h.Patience):
		r.Fatal("Receive goes on after its context was cancelled, want it ended")
	}

	// The same where there are messages.
	r.publish(c, messages(queue, "m", 5)...)
	if deliveries, err := receiver.Receive(ctx, 10); !errors.Is(err, context.Canceled) || deliveries != nil {
		r.Errorf("Receive with a cancelled context: %d messages, error %v; want the context's error", len(deliveries), err)
	}
	if err := c.Err(); err != nil {
		r.Errorf("the connection ended with a Receive: %v; want it open", err)
	}
	r.same(r.drain(receiver, 5, 5), bodiesOf(messages(queue, "m", 5)))
}

func cancelledReceive(r *rig) {
	c, queue := r.connect(), r.name()
	receiver := r.subscribe(c, queue, 50)
	ms := messages(queue, "m", 2000)
	errs := make(chan error, 1)
	ctx, cancel := r.patient()
	defer cancel()
	go func() {
		for i := 0; i < len(ms); i += 20 {
			if err := publishAll(ctx, c, waybill.Durable, ms[i:i+20]); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}()
	var got []string
	timeouts := 0
	for round := 0; len(got) < len(ms); round++ {
		if ctx.Err() != nil {
			r.Fatalf("received %d messages in %v, with %d timeouts; want %d", len(got), r.h.Patience, timeouts, len(ms))
		}
		brief, cancel := context.WithTimeout(ctx, time.Duration(round%20)*50*time.Microsecond)
		deliveries, err := receiver.Receive(brief, 13)
		cancel()
		switch {
		case err != nil && len(deliveries) > 0:
			r.Fatalf("Receive returned %d messages with the error %v, want none", len(deliveries), err)
		case errors.Is(err, context.DeadlineExceeded):
			timeouts++
		case err != nil:
			r.Fatalf("Receive: %v; want messages, or the context's error", err)
		}
		r.settle(receiver, deliveries, broker.Ack)
		got = append(got, bodies(deliveries)...)
	}
	if err := <-errs; err != nil {
		r.Fatal(err)
	}
	if r.caps.Ordered {
		r.ordered(got, bodiesOf(ms))
	} else {
		r.same(got, bodiesOf(ms))
	}
	r.nothing(receiver)
}

func callerOwns(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 20)
	r.publish(c, ms...)
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, 20)
	for i := range deliveries {
		_ = append(deliveries[i].Body, "over the end"...)
	}
	r.same(bodies(deliveries), bodiesOf(ms))
	for i := range deliveries {
		clear(deliveries[i].Body)
		clear(deliveries[i].Headers)
	}
	r.close(receiver)
	r.left(queue, bodiesOf(ms))
}

func competing(r *rig) {
	queue := r.name()
	publisher := r.connect()
	shared := r.connect()
	receivers := []broker.Receiver{
		r.subscribe(shared, queue, 20), r.subscribe(shared, queue, 20), r.subscribe(r.connect(), queue, 20),
	}
	ms := messages(queue, "m", 1500)
	ctx, cancel := r.patient()
	defer cancel()
	got := make(chan []string, len(ms))
	errs := make(chan error, len(receivers))
	stop, stopAll := context.WithCancel(ctx)
	defer stopAll()
	for _, receiver := range receivers {
		go func() {
			for {
				deliveries, err := receiver.Receive(stop, 10)
				if err != nil {
					if stop.Err() != nil {
						err = nil
					}
					errs <- err
					return
				}
				if err := receiver.Settle(ctx, deliveries, broker.Ack); err != nil {
					errs <- fmt.Errorf("settle: %w", err)
					return
				}
				got <- bodies(deliveries)
			}
		}()
	}
	for i := 0; i < len(ms); i += 100 {
		r.publish(publisher, ms[i:i+100]...)
	}
	var all []string
	for len(all) < len(ms) {
		select {
		case bodies := <-got:
			all = append(all, bodies...)
		case err := <-errs:
			r.Fatalf("a subscriber ended: %v; want it to go on", err)
		case <-ctx.Done():
			r.Fatalf("%d messages arrived in %v, want %d", len(all), r.h.Patience, len(ms))
		}
	}
	stopAll()
	for range receivers {
		if err := <-errs; err != nil {
			r.Error(err)
		}
	}
	close(got)
	for bodies := range got {
		all = append(all, bodies...)
	}
	r.same(all, bodiesOf(ms))
}

func bothWays(r *rig) {
	c, out, back := r.connect(), r.name(), r.name()
	// One connection publishes to two queues and receives from both, as that of a relay
	// with its receipts does.
	const n, size = 40, 50
	ctx, cancel := r.patient()
	defer cancel()
	errs := make(chan error, 3)
	publish := func(queue string) {
		for i := range n {
			if err := publishAll(ctx, c, waybill.Durable, messages(queue, fmt.Sprint(i), size)); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}
	go publish(out)
	go publish(back)
	first, second := r.subscribe(c, out, 100), r.subscribe(c, back, 100)
	var got []string
	go func() {
		for len(got) < n*size {
			deliveries, err := first.Receive(ctx, 100)
			if err == nil {
				err = first.Settle(ctx, deliveries, broker.Ack)
			}
			if err != nil {
				errs <- fmt.Errorf("after %d messages: %w", len(got), err)
				return
			}
			got = append(got, bodies(deliveries)...)
		}
		errs <- nil
	}()
	also := r.drain(second, n*size, 100)
	for range 3 {
		if err := <-errs; err != nil {
			r.Fatal(err)
		}
	}
	var want []string
	for i := range n {
		want = append(want, bodiesOf(messages(out, fmt.Sprint(i), size))...)
	}
	r.same(got, want)
	r.same(also, want)
}

func slowReceiver(r *rig) {
	c, queue := r.connect(), r.name()
	const n = 4000
	// More messages wait than Prefetch allows, another goroutine acknowledges them one at a
	// time, and others are published meanwhile.
	r.publish(c, messages(queue, "early", n/2)...)
	receiver := r.subscribe(c, queue, 10)
	ctx, cancel := r.patient()
	defer cancel()
	errs := make(chan error, 2)
	go func() { errs <- publishAll(ctx, c, waybill.Durable, messages(queue, "late", n/2)) }()
	toSettle := make(chan broker.Delivery, n)
	go func() {
		for d := range toSettle {
			if err := receiver.Settle(ctx, []broker.Delivery{d}, broker.Ack); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}()
	var got []string
	for len(got) < n {
		deliveries := r.receiveSome(receiver, 10)
		got = append(got, bodies(deliveries)...)
		for _, d := range deliveries {
			toSettle <- d
		}
	}
	close(toSettle)
	for range 2 {
		if err := <-errs; err != nil {
			r.Fatal(err)
		}
	}
	r.same(got, append(bodiesOf(messages(queue, "early", n/2)), bodiesOf(messages(queue, "late", n/2))...))
	r.nothing(receiver)
}

func manyQueues(r *rig) {
	c := r.connect()
	const n = 30
	queues := make([]string, n)
	receivers := make([]broker.Receiver, n)
	for i := range queues {
		queues[i] = r.name()
		receivers[i] = r.subscribe(c, queues[i], 10)
	}
	var ms []broker.Message
	for i := range 10 * n {
		ms = append(ms, message(queues[i%n], fmt.Sprint(queues[i%n], " ", i)))
	}
	r.publish(c, ms...)
	for i := range queues {
		for _, body := range r.drain(receivers[i], 10, 10) {
			var queue string
			if _, err := fmt.Sscan(body, &queue); err != nil || queue != queues[i] {
				r.Errorf("%q arrived at %q, want only what was sent there", body, queues[i])
			}
		}
	}
	for i := range queues {
		r.close(receivers[i])
	}
}
