package brokertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var linkCases = []testCase{
	{name: "a connection that is cut ends with a reason", skip: needsLink, run: cutEnds},
	{name: "what was not settled comes again after a cut", skip: needsLink, run: unsettledAfterCut},
	{name: "publishing that is cut confirms nothing falsely", skip: needsLink, run: cutPublish},
	{name: "a connection that is cut while it closes leaves nothing behind", skip: needsLink, run: cutClose},
	{name: "a publish that gets no answer is Unknown when its context ends", skip: needsLink, run: heldPublish},
	{name: "Receive and Close end with their contexts while nothing passes", skip: needsLink, run: heldClose},
	{name: "Close ends with its context while nothing passes and nobody receives", skip: needsLink, run: heldUnread},
	{name: "Connect ends with its context while nothing passes", skip: needsLink, run: heldConnect},
	{name: "a connection goes on after nothing has passed for a while", skip: needsLink, run: heldAWhile},
}

// link opens a Broker over a Link.
func (r *rig) link() (broker.Broker, Link) { return r.h.OpenLink(r) }

// holding opens a Broker over a Link that can hold, or skips the case.
func (r *rig) holding() (broker.Broker, Link) {
	b, link := r.link()
	if link.Hold == nil || link.Release == nil {
		r.Skip("the harness's link has no Hold and Release")
	}
	r.Cleanup(link.Release)
	return b, link
}

// broken checks that a connection has ended by itself.
func (r *rig) broken(c broker.Conn) {
	r.Helper()
	r.ended(c.Done(), "Done after the connection was lost")
	err := c.Err()
	if err == nil || errors.Is(err, broker.ErrClosed) {
		r.Errorf("Err of a lost connection: %v; want a reason that is not ErrClosed", err)
	}
	ctx, cancel := r.patient()
	defer cancel()
	ms := messages(r.name(), "m", 3)
	results, err := c.Publish(ctx, ms, waybill.Durable)
	if err == nil {
		r.Error("Publish on a lost connection returned no error, want one")
	}
	r.unknown(results, ms)
	if _, err := c.Subscribe(ctx, broker.Subscription{Destination: r.name(), Prefetch: 1}); err == nil {
		r.Error("Subscribe on a lost connection returned no error, want one")
	}
	if err := c.Err(); err == nil || errors.Is(err, broker.ErrClosed) {
		r.Errorf("Err changed to %v, want the reason as before", err)
	}
	r.close(c)
}

func cutEnds(r *rig) {
	b, link := r.link()
	c := r.connectTo(b)
	receiver := r.subscribe(c, r.name(), 10)
	errs := make(chan error, 1)
	go func() {
		_, err := receiver.Receive(r.ctx, 10)
		errs <- err
	}()
	link.Cut()
	select {
	case err := <-errs:
		if err == nil || errors.Is(err, broker.ErrClosed) {
			r.Errorf("Receive on a cut connection: %v; want the reason", err)
		}
	case <-time.After(r.h.Patience):
		r.Fatal("Receive goes on after its connection was cut, want it ended")
	}
	r.broken(c)
	r.publish(r.connectTo(b), message(r.name(), "gets through again"))
}

func unsettledAfterCut(r *rig) {
	b, link := r.link()
	queue := r.name()
	r.publish(r.connect(), messages(queue, "m", 40)...)
	c := r.connectTo(b)
	want := r.half(r.subscribe(c, queue, 40), 40)
	if len(want) == 0 {
		r.Fatal("everything is settled, want half of it left")
	}
	// The broker has read the acknowledgements when it answers what is published after
	// them.
	r.publish(c, message(r.name(), "barrier"))
	link.Cut()
	r.broken(c)
	// What was settled may come again, since the acknowledgement can be lost with the
	// connection. What was not settled has to.
	again := r.connect()
	receiver := r.subscribe(again, queue, 100)
	missing := map[string]bool{}
	for _, body := range want {
		missing[body] = true
	}
	ctx, cancel := r.patient()
	defer cancel()
	for len(missing) > 0 {
		deliveries, err := receiver.Receive(ctx, 100)
		if err != nil {
			r.Fatalf("Receive: %v; %d of %d messages that were not settled are missing", err, len(missing), len(want))
		}
		for _, body := range bodies(deliveries) {
			delete(missing, body)
		}
		r.settle(receiver, deliveries, broker.Ack)
	}
}

func cutPublish(r *rig) {
	b, link := r.link()
	queue := r.name()
	var confirmed []string
	maybe := map[string]bool{}
	for round := range 4 {
		c := r.connectTo(b)
		transport := waybill.Durable
		progress := make(chan struct{}, 1000)
		type outcome struct {
			ms      []broker.Message
			results []broker.Result
			err     error
		}
		outcomes := make(chan outcome, 1000)
		go func() {
			defer close(outcomes)
			for i := range 1000 {
				ms := messages(queue, fmt.Sprintf("%d-%d", round, i), 50)
				results, err := c.Publish(r.ctx, ms, transport)
				outcomes <- outcome{ms, results, err}
				if err != nil {
					return
				}
				progress <- struct{}{}
			}
		}()
		for range 2 + round {
			select {
			case <-progress:
			case <-time.After(r.h.Patience):
				r.Fatalf("a batch of 50 is not published after %v", r.h.Patience)
			}
		}
		link.Cut()
		r.ended(c.Done(), "Done after a cut")
		last := false
		for o := range outcomes {
			last = o.err != nil
			r.oneEach(o.results, o.ms)
			for i, result := range o.results {
				if result.Fate == broker.Confirmed {
					confirmed = append(confirmed, string(o.ms[i].Body))
					continue
				}
				maybe[string(o.ms[i].Body)] = true
				if result.Fate != broker.Unknown {
					r.Errorf("a message is %v: %v; want confirmed or unknown", result.Fate, result.Err)
				}
			}
		}
		if !last {
			r.Error("Publish on a cut connection returned no error, want one")
		}
		r.broken(c)
	}
	if len(confirmed) == 0 {
		r.Error("no message was confirmed before the cuts, want some")
	}
	r.holdsAll(queue, confirmed, maybe)
}

func cutClose(r *rig) {
	b, link := r.link()
	for range 5 {
		c, queue := r.connectTo(b), r.name()
		receiver := r.subscribe(c, queue, 10)
		r.publish(c, messages(queue, "m", 10)...)
		r.receive(receiver, 5)
		cut := make(chan struct{})
		go func() {
			link.Cut()
			close(cut)
		}()
		ctx, cancel := r.patient()
		_ = c.Close(ctx) // with or without an error
		cancel()
		<-cut
		r.ended(c.Done(), "Done after Close")
	}
}

func heldPublish(r *rig) {
	b, link := r.holding()
	c, queue := r.connectTo(b), r.name()
	r.publish(c, message(queue, "before"))
	link.Hold()
	defer link.Release() // before the connection is closed
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		ms := messages(queue, transport.String(), 100)
		ctx, cancel := context.WithTimeout(r.ctx, r.h.Quiet)
		var results []broker.Result
		var err error
		r.soon("Publish that gets no answer", func() { results, err = c.Publish(ctx, ms, transport) })
		cancel()
		if err != nil {
			r.ended(c.Done(), fmt.Sprintf("Publish returned the error %v and the connection lives", err))
		}
		r.unknown(results, ms)
	}
}

func heldClose(r *rig) {
	b, link := r.holding()
	c, queue := r.connectTo(b), r.name()
	receiver := r.subscribe(c, queue, 10)
	r.publish(c, messages(queue, "m", 20)...)
	r.receive(receiver, 2)
	link.Hold()
	ctx, cancel := context.WithTimeout(r.ctx, r.h.Quiet)
	defer cancel()
	r.soon("Receiver.Close while nothing passes", func() { _ = receiver.Close(ctx) })
	r.soon("Conn.Close while nothing passes", func() { _ = c.Close(ctx) })
	r.ended(c.Done(), "Done after Close")
	if err := c.Err(); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Err after Close: %v; want ErrClosed", err)
	}
}

// heldUnread closes what is full in both directions: of what has come, nothing is received,
// and what is published does not leave.
func heldUnread(r *rig) {
	b, link := r.holding()
	c, queue, full := r.connectTo(b), r.name(), r.name()
	r.publish(r.connect(), messages(queue, "m", 3000)...)
	receivers := []broker.Receiver{r.subscribe(c, queue, 1000)}
	held := r.receive(receivers[0], 1)
	receivers = append(receivers, r.subscribe(c, queue, 1000))
	link.Hold()
	large := messages(full, "large", 20)
	for i := range large {
		large[i].Body = make([]byte, 500<<10)
	}
	publishing, stop := context.WithTimeout(r.ctx, r.h.Quiet)
	defer stop()
	_, _ = c.Publish(publishing, large, waybill.Durable) // with or without an error
	_ = receivers[0].Settle(publishing, held, broker.Ack)
	ctx, cancel := context.WithTimeout(r.ctx, r.h.Quiet)
	defer cancel()
	began := time.Now()
	r.soon("Receiver.Close while nothing passes", func() { _ = receivers[1].Close(ctx) })
	r.soon("Conn.Close while nothing passes", func() { _ = c.Close(ctx) })
	if took := time.Since(began); took > r.h.Quiet+r.h.Patience/5 {
		r.Errorf("Close took %v with a context of %v, want it to end with that", took, r.h.Quiet)
	}
	r.ended(c.Done(), "Done after Close")
	for _, receiver := range receivers {
		r.soon("Receive after Close", func() {
			if _, err := receiver.Receive(r.ctx, 10); err == nil {
				r.Error("Receive after Close returned messages, want an error")
			}
		})
	}
}

func heldConnect(r *rig) {
	b, link := r.holding()
	link.Hold()
	ctx, cancel := context.WithTimeout(r.ctx, r.h.Quiet)
	defer cancel()
	r.soon("Connect while nothing passes", func() {
		if c, err := b.Connect(ctx); err == nil {
			r.Error("Connect succeeded while nothing passes, want an error")
			r.close(c)
		}
	})
}

func heldAWhile(r *rig) {
	b, link := r.holding()
	c, queue := r.connectTo(b), r.name()
	receiver := r.subscribe(c, queue, 10)
	link.Hold()
	errs := make(chan error, 1)
	ctx, cancel := r.patient()
	defer cancel()
	go func() { errs <- publishAll(ctx, c, waybill.Durable, messages(queue, "m", 20)) }()
	r.nothing(receiver)
	link.Release()
	if err := <-errs; err != nil {
		r.Fatal(err)
	}
	r.same(r.drain(receiver, 20, 10), bodiesOf(messages(queue, "m", 20)))
}
