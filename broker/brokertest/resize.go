package brokertest

import (
	"context"
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var resizeCases = []testCase{
	{name: "Window and Resize bound what is received and not settled", run: resized},
	{name: "resizing while messages come and go loses and doubles nothing", run: resizedOften},
	{name: "a subscription that is being resized can be closed", run: resizedClose},
}

// resizable subscribes to a queue, or skips the case.
func (r *rig) resizable(c broker.Conn, queue string, prefetch, window int) (broker.Receiver, broker.Resizer) {
	r.Helper()
	receiver := r.subscribeTo(c, broker.Subscription{Destination: queue, Prefetch: prefetch, Window: window})
	resizer, ok := receiver.(broker.Resizer)
	if !ok {
		r.Skip("the receivers of this adapter are no broker.Resizer")
	}
	return receiver, resizer
}

// hold receives so many messages, however long that takes, and what else comes until nothing
// comes for a while.
func (r *rig) hold(receiver broker.Receiver, n int) (held []broker.Delivery) {
	r.Helper()
	if n > 0 {
		held = r.receive(receiver, n)
	}
	for {
		ctx, cancel := context.WithTimeout(r.ctx, 2*r.h.Quiet)
		deliveries, err := receiver.Receive(ctx, 100)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return held
		case err != nil:
			r.Fatalf("Receive: %v; want messages, or the context's error", err)
		}
		held = append(held, deliveries...)
	}
}

func resized(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 300)
	r.publish(c, ms...)
	receiver, resizer := r.resizable(c, queue, 100, 2)
	gone := map[string]int{}
	settle := func(deliveries []broker.Delivery) {
		for _, body := range bodies(deliveries) {
			gone[body]++
		}
		r.settle(receiver, deliveries, broker.Ack)
	}
	held := r.hold(receiver, 2)
	if len(held) != 2 {
		r.Fatalf("received %d messages with a window of 2, want 2", len(held))
	}
	for _, window := range []int{7, 60, 3, 1} {
		resizer.Resize(window)
		for tries := 0; ; tries++ { // what was under way does not count, and may take its time
			settle(held)
			held = r.hold(receiver, window)
			if len(held) == window {
				break
			}
			if tries == 2 {
				r.Fatalf("received %d messages at a time with a window of %d, want so many", len(held), window)
			}
		}
	}
	settle(held)
	r.close(receiver)
	for body, n := range gone {
		if n > 1 {
			r.Errorf("%q was received %d times, want once", body, n)
		}
	}
	var want []string
	for _, body := range bodiesOf(ms) {
		if gone[body] == 0 {
			want = append(want, body)
		}
	}
	r.left(queue, want)
}

func resizedOften(r *rig) {
	c, queue := r.connect(), r.name()
	const n = 3000
	ms := messages(queue, "m", n)
	receiver, resizer := r.resizable(c, queue, 500, 1)
	ctx, cancel := r.patient()
	defer cancel()
	errs := make(chan error, 1)
	go func() {
		for i := 0; i < n; i += 100 {
			if err := publishAll(ctx, c, waybill.Durable, ms[i:i+100]); err != nil {
				errs <- err
				return
			}
		}
		errs <- nil
	}()
	var got []string
	windows := []int{4, 64, 500, 20, 3, 200}
	for next := 0; len(got) < n; {
		if len(got) >= next {
			resizer.Resize(windows[next/100%len(windows)])
			next += 100
		}
		deliveries := r.receiveSome(receiver, 50)
		got = append(got, bodies(deliveries)...)
		r.settle(receiver, deliveries, broker.Ack)
	}
	if err := <-errs; err != nil {
		r.Fatal(err)
	}
	r.same(got, bodiesOf(ms))
	r.nothing(receiver)
}

func resizedClose(r *rig) {
	queue := r.name()
	r.publish(r.connect(), messages(queue, "m", 200)...)
	settled := 0
	for i := range 6 {
		c := r.connect()
		receiver, resizer := r.resizable(c, queue, 100, 2)
		settled += len(r.drain(receiver, 10, 10))
		resizer.Resize(50)
		if i%2 == 0 {
			brief, cancel := context.WithTimeout(r.ctx, time.Millisecond)
			deliveries, err := receiver.Receive(brief, 1)
			cancel()
			if err == nil {
				r.settle(receiver, deliveries, broker.Ack)
				settled += len(deliveries)
			}
		}
		if i%3 != 0 {
			r.close(receiver)
		}
		r.close(c)
		resizer.Resize(3) // does nothing
	}
	receiver := r.subscribe(r.connect(), queue, 1000)
	r.drain(receiver, 200-settled, 100)
	r.nothing(receiver)
}
