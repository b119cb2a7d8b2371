package brokertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var publishCases = []testCase{
	{name: "a batch of none, one or thousands has a result for each message", run: batches},
	{name: "one batch may go to several destinations", run: severalDestinations},
	{name: "several goroutines may publish on one connection", run: concurrentPublish},
	{name: "what is published before anyone subscribes is kept", run: keptBeforeSubscribe},
	{name: "what is published over a closed connection is kept", run: keptAfterClose},
	{name: "transient messages arrive", run: transientArrives},
	{name: "copies of one message all arrive", run: copiesArrive},
	{name: "Publish neither keeps nor changes messages", run: publishOwnsNothing},
	{name: "a cancelled context confirms nothing falsely", run: cancelledPublish},
	{name: "a context that ends in the middle confirms nothing falsely", run: interruptedPublish},
	{name: "a message that is too large is Unacceptable and the others are Confirmed", skip: needsMaxMessage, run: tooLarge},
	{name: "a message to a queue that nobody makes is Refused and the others are Confirmed", skip: needsUnroutable, run: unroutable},
	{name: "a message that must find its queue makes none and is Refused where there is none", skip: needsMustExist, run: mustExist},
}

func batches(r *rig) {
	c := r.connect()
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		for _, n := range []int{0, 1, 2, 1000, 2500} {
			queue := r.name()
			ms := messages(queue, "m", n)
			r.publishAs(c, transport, ms...)
			receiver := r.subscribe(c, queue, 500)
			r.same(r.drain(receiver, n, 500), bodiesOf(ms))
			r.close(receiver)
		}
	}
}

func severalDestinations(r *rig) {
	c := r.connect()
	const n = 300
	var ms []broker.Message
	queues := []string{r.name(), r.name(), r.name()}
	want := map[string][]string{}
	for i := range n {
		queue := queues[i%len(queues)]
		m := message(queue, fmt.Sprintf("m-%d", i))
		ms = append(ms, m)
		want[queue] = append(want[queue], string(m.Body))
	}
	r.publish(c, ms...)
	for _, queue := range queues {
		receiver := r.subscribe(c, queue, 50)
		got := r.drain(receiver, len(want[queue]), 50)
		if r.caps.Ordered {
			r.ordered(got, want[queue])
		} else {
			r.same(got, want[queue])
		}
	}
}

func concurrentPublish(r *rig) {
	c, queue := r.connect(), r.name()
	ctx, cancel := r.patient()
	defer cancel()
	const publishers, rounds, size = 16, 8, 25
	var want []string
	errs := make(chan error, publishers)
	for p := range publishers {
		var batches [][]broker.Message
		for round := range rounds {
			batches = append(batches, messages(queue, fmt.Sprintf("%d-%d", p, round), size))
			want = append(want, bodiesOf(batches[round])...)
		}
		transport := waybill.Durable
		if p%4 == 3 {
			transport = waybill.Transient
		}
		go func() {
			for _, batch := range batches {
				if err := publishAll(ctx, c, transport, batch); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range publishers {
		if err := <-errs; err != nil {
			r.Fatal(err)
		}
	}
	r.same(r.drain(r.subscribe(c, queue, 500), len(want), 500), want)
}

func keptBeforeSubscribe(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 20)
	r.publish(c, ms...)
	r.left(queue, bodiesOf(ms))
}

func keptAfterClose(r *rig) {
	queue := r.name()
	ms := messages(queue, "m", 20)
	c := r.connect()
	r.publish(c, ms[:10]...)
	r.publishAs(c, waybill.Transient, ms[10:]...)
	r.close(c)
	r.left(queue, bodiesOf(ms))
}

func transientArrives(r *rig) {
	c, queue := r.connect(), r.name()
	receiver := r.subscribe(c, queue, 100)
	ms := messages(queue, "m", 500)
	ms[7].ContentType = "text/plain"
	ms[7].Headers = append(ms[7].Headers, broker.Header{Name: "note", Value: " ü "})
	r.publishAs(c, waybill.Transient, ms...)
	var got []string
	for len(got) < len(ms) {
		deliveries := r.receiveSome(receiver, 100)
		for i := range deliveries {
			if string(deliveries[i].Body) == "m-7" {
				r.sameHeaders(&deliveries[i], ms[7].Headers)
			}
		}
		got = append(got, bodies(deliveries)...)
		r.settle(receiver, deliveries, broker.Ack)
	}
	if r.caps.Ordered {
		r.ordered(got, bodiesOf(ms))
	} else {
		r.same(got, bodiesOf(ms))
	}
	r.nothing(receiver)
}

// A copy is sent because the first one, or its receipt, may be lost. If a broker dropped it
// as a duplicate, no receipt would ever come.
func copiesArrive(r *rig) {
	c, queue := r.connect(), r.name()
	m := message(queue, "copy")
	m.Headers = append(m.Headers, broker.Header{Name: "Nats-Msg-Id", Value: waybill.NewID().String()})
	r.publish(c, m, m)
	r.publishAs(c, waybill.Transient, m)
	r.publish(r.connect(), m)
	receiver := r.subscribe(c, queue, 10)
	r.same(r.drain(receiver, 4, 10), []string{"copy", "copy", "copy", "copy"})
}

func publishOwnsNothing(r *rig) {
	c, queue := r.connect(), r.name()
	ms := messages(queue, "m", 50)
	want := bodiesOf(ms)
	before := make([]broker.Message, len(ms))
	for i, m := range ms {
		before[i] = m
		before[i].Body, before[i].Headers = slices.Clone(m.Body), slices.Clone(m.Headers)
	}
	r.publish(c, ms...)
	if !reflect.DeepEqual(ms, before) {
		r.Error("Publish changed the messages that it was given, want them as they were")
	}
	for i := range ms {
		clear(ms[i].Body)
		clear(ms[i].Headers)
	}
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, len(ms))
	r.same(bodies(deliveries), want)
	for i := range deliveries {
		if producer, _ := deliveries[i].Header("producer"); producer != "brokertest" {
			r.Errorf("the header producer arrived as %q, want brokertest", producer)
		}
	}
	r.settle(receiver, deliveries, broker.Ack)
}

func cancelledPublish(r *rig) {
	c, queue := r.connect(), r.name()
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		ms := messages(queue, transport.String(), 100)
		results, err := c.Publish(ctx, ms, transport)
		r.unknown(results, ms)
		r.alive(c, err)
	}
}

// alive checks that a Publish whose context ended has returned no error.
func (r *rig) alive(c broker.Conn, err error) {
	r.Helper()
	if err != nil {
		r.Errorf("Publish: %v; want no error of the call, since only its context ended", err)
		r.ended(c.Done(), "Publish returned an error and the connection lives")
	}
}

func interruptedPublish(r *rig) {
	queue := r.name()
	var confirmed []string
	maybe := map[string]bool{}
	for round := range 12 {
		// In each round a little more is published before the context ends.
		c := r.connect()
		ctx, cancel := context.WithCancel(r.ctx)
		ms := messages(queue, fmt.Sprint(round), 400)
		var sending sync.WaitGroup
		var results []broker.Result
		var err error
		sending.Go(func() { results, err = c.Publish(ctx, ms, waybill.Durable) })
		r.publish(r.connect(), messages(r.name(), "pace", 1+round*20)...)
		cancel()
		r.soon("Publish after its context ended", sending.Wait)
		if err != nil {
			r.ended(c.Done(), fmt.Sprintf("Publish returned the error %v and the connection lives", err))
		}
		r.oneEach(results, ms)
		for i, result := range results {
			switch result.Fate {
			case broker.Confirmed:
				confirmed = append(confirmed, string(ms[i].Body))
			case broker.Unknown:
				maybe[string(ms[i].Body)] = true
			default:
				r.Errorf("message %d is %v: %v; want confirmed or unknown", i, result.Fate, result.Err)
			}
		}
		r.close(c)
	}
	r.holdsAll(queue, confirmed, maybe)
}

// holdsAll checks that a queue holds every confirmed message, and nothing but
// those and some of the others.
func (r *rig) holdsAll(queue string, confirmed []string, maybe map[string]bool) {
	r.Helper()
	c := r.connect()
	receiver := r.subscribe(c, queue, 1000)
	missing := map[string]bool{}
	for _, body := range confirmed {
		missing[body] = true
	}
	for {
		wait := r.h.Patience
		if len(missing) == 0 {
			wait = r.h.Quiet
		}
		ctx, cancel := context.WithTimeout(r.ctx, wait)
		deliveries, err := receiver.Receive(ctx, 1000)
		cancel()
		if err != nil {
			if len(missing) > 0 {
				r.Fatalf("Receive: %v; %d of %d confirmed messages are missing, want none", err, len(missing), len(confirmed))
			}
			break
		}
		for _, body := range bodies(deliveries) {
			if !missing[body] && !maybe[body] {
				r.Errorf("received %q, want only what was published, and once", body)
			}
			delete(missing, body)
			delete(maybe, body)
		}
		r.settle(receiver, deliveries, broker.Ack)
	}
	r.close(c)
}

func tooLarge(r *rig) {
	c, queue := r.connect(), r.name()
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		ms := messages(queue, transport.String(), 10)
		want := bodiesOf(ms)
		want = append(want[:3:3], append(want[4:6:6], want[7:]...)...)
		ms[3].Body = make([]byte, r.caps.MaxMessage+1)
		ms[6].Body = make([]byte, r.caps.MaxMessage+100_000)
		ctx, cancel := r.patient()
		results, err := c.Publish(ctx, ms, transport)
		cancel()
		if err != nil {
			r.Fatalf("Publish: %v; want no error", err)
		}
		r.oneEach(results, ms)
		r.fates(results, func(i int) broker.Fate {
			if i == 3 || i == 6 {
				return broker.Unacceptable
			}
			return broker.Confirmed
		})
		r.left(queue, want)
	}
	largest := broker.Message{Destination: queue, Body: make([]byte, r.caps.MaxMessage)}
	r.publish(c, largest)
	receiver := r.subscribe(c, queue, 1)
	d := r.receive(receiver, 1)
	if len(d[0].Body) != r.caps.MaxMessage {
		r.Errorf("a body of MaxMessage arrived with %d bytes, want %d", len(d[0].Body), r.caps.MaxMessage)
	}
	r.settle(receiver, d, broker.Ack)
}

func unroutable(r *rig) {
	made := r.name()
	maker := r.connect()
	r.publish(maker, message(made, "makes the queue"))
	b := r.h.OpenNoCreate(r)
	if !b.Capabilities().Unroutable {
		r.Error("a broker that makes no destinations does not declare Unroutable, want that it does")
	}
	c := r.connectTo(b)
	ms := []broker.Message{message(made, "a"), message(r.name(), "b"), message(made, "c"), message(r.name(), "d")}
	ctx, cancel := r.patient()
	defer cancel()
	results, err := c.Publish(ctx, ms, waybill.Durable)
	if err != nil {
		r.Fatalf("Publish: %v; want no error", err)
	}
	r.oneEach(results, ms)
	r.fates(results, func(i int) broker.Fate {
		if i%2 == 1 {
			return broker.Refused
		}
		return broker.Confirmed
	})
	r.left(made, []string{"makes the queue", "a", "c"})
}

func mustExist(r *rig) {
	c := r.connect()
	made, missing := r.name(), r.name()
	r.publish(c, message(made, "makes the queue"))
	var ms []broker.Message
	for i := range 20 {
		queue := made
		if i%2 == 1 {
			queue = missing
		}
		m := message(queue, fmt.Sprint(i))
		m.MustExist = true
		ms = append(ms, m)
	}
	want := []string{"makes the queue"}
	for range 2 { // what was found to be missing is looked for again
		ctx, cancel := r.patient()
		results, err := c.Publish(ctx, ms, waybill.Durable)
		cancel()
		if err != nil {
			r.Fatalf("Publish: %v; want no error", err)
		}
		r.oneEach(results, ms)
		r.fates(results, func(i int) broker.Fate {
			if i%2 == 1 {
				return broker.Refused
			}
			want = append(want, fmt.Sprint(i))
			return broker.Confirmed
		})
		for i := 1; i < len(ms); i += 2 {
			if !errors.Is(results[i].Err, broker.ErrNoQueue) {
				r.Errorf("message %d: %v; want an error that matches ErrNoQueue", i, results[i].Err)
			}
		}
	}
	r.left(made, want)
	// Of another connection, which has not asked for it, the queue is made.
	r.publish(r.connect(), message(missing, "makes this one"))
	r.publish(c, ms[1])
	r.left(missing, []string{"makes this one", "1"})
}
