package brokertest

import (
	"context"
	"errors"
	"reflect"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var connCases = []testCase{
	{name: "Capabilities always answers the same", run: sameCapabilities},
	{name: "connections and receivers equal themselves alone", run: compared},
	{name: "Connect ends with its context", run: connectEnds},
	{name: "a connection outlives the context that opened it", run: outlivesContext},
	{name: "a closed connection says so and may be closed again", run: closeTwice},
	{name: "Close ends a Receive that waits", run: closeEndsReceive},
	{name: "calls after Close fail with ErrClosed", run: afterClose},
	{name: "closing a receiver leaves its connection alone", run: receiverClose},
	{name: "closing one connection leaves the others alone", run: othersLive},
	{name: "Close waits no longer than its context", run: closeBounded},
	{name: "a connection that is closed under load leaves nothing behind", run: closeUnderLoad},
}

func sameCapabilities(r *rig) {
	if r.caps.Name == "" {
		r.Error("Capabilities has no Name, want one")
	}
	if r.caps.SharedTopics && !r.caps.Topics {
		r.Error("Capabilities has SharedTopics without Topics, want both or none")
	}
	c := r.connect()
	r.publish(c, message(r.name(), "m"))
	if now := r.b.Capabilities(); now != r.caps {
		r.Errorf("Capabilities is %+v, want %+v as before", now, r.caps)
	}
}

func compared(r *rig) {
	one, two := r.connect(), r.connect()
	if !reflect.ValueOf(one).Comparable() {
		r.Fatalf("connections are of the type %T, which cannot be compared; want a pointer or the like", one)
	}
	if conns := map[broker.Conn]bool{one: true, two: true}; len(conns) != 2 {
		r.Error("two connections are equal, want them different")
	}
	queue := r.name()
	a, b := r.subscribe(one, queue, 10), r.subscribe(one, queue, 10)
	if !reflect.ValueOf(a).Comparable() {
		r.Fatalf("receivers are of the type %T, which cannot be compared; want a pointer or the like", a)
	}
	if receivers := map[broker.Receiver]bool{a: true, b: true}; len(receivers) != 2 {
		r.Error("two receivers of one queue are equal, want them different")
	}
}

func connectEnds(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	r.soon("Connect with a cancelled context", func() {
		if c, err := r.b.Connect(ctx); err == nil {
			r.Error("Connect succeeded with a cancelled context, want an error")
			r.close(c)
		}
	})
}

func outlivesContext(r *rig) {
	ctx, cancel := r.patient()
	c, err := r.b.Connect(ctx)
	if err != nil {
		r.Fatalf("Connect: %v", err)
	}
	defer r.close(c)
	cancel()
	queue := r.name()
	ctx, cancel = r.patient()
	receiver, err := c.Subscribe(ctx, broker.Subscription{Destination: queue, Prefetch: 10})
	if err != nil {
		r.Fatalf("Subscribe: %v", err)
	}
	cancel()
	r.publish(c, message(queue, "m"))
	r.same(r.drain(receiver, 1, 1), []string{"m"})
}

func closeTwice(r *rig) {
	c := r.connect()
	r.subscribe(c, r.name(), 10)
	select {
	case <-c.Done():
		r.Fatal("Done is closed before Close, want it open")
	default:
	}
	if err := c.Err(); err != nil {
		r.Errorf("Err before Close: %v; want nil", err)
	}
	r.close(c)
	select {
	case <-c.Done():
	default:
		r.Error("Done is open after Close, want it closed")
	}
	if err := c.Err(); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Err after Close: %v; want ErrClosed", err)
	}
	r.close(c)
	if err := c.Err(); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Err after the second Close: %v; want ErrClosed", err)
	}
}

func closeEndsReceive(r *rig) {
	c := r.connect()
	one, two := r.subscribe(c, r.name(), 10), r.subscribe(c, r.name(), 10)
	for what, end := range map[string]func(){
		"Receiver.Close": func() { r.close(one) },
		"Conn.Close":     func() { r.close(c) },
	} {
		receiver := one
		if what == "Conn.Close" {
			receiver = two
		}
		errs := make(chan error, 1)
		go func() {
			_, err := receiver.Receive(r.ctx, 10)
			errs <- err
		}()
		end()
		select {
		case err := <-errs:
			if !errors.Is(err, broker.ErrClosed) {
				r.Errorf("Receive after %s: %v; want ErrClosed", what, err)
			}
		case <-time.After(r.h.Patience):
			r.Fatalf("Receive goes on after %s, want it ended", what)
		}
	}
}

func afterClose(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, message(queue, "kept"))
	receiver := r.subscribe(c, queue, 10)
	held := r.receive(receiver, 1)
	r.close(c)

	ctx, cancel := r.patient()
	defer cancel()
	ms := messages(queue, "m", 3)
	results, err := c.Publish(ctx, ms, waybill.Durable)
	if !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Publish: %v; want ErrClosed", err)
	}
	r.unknown(results, ms)
	if _, err := c.Subscribe(ctx, broker.Subscription{Destination: queue, Prefetch: 10}); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Subscribe: %v; want ErrClosed", err)
	}
	if _, err := receiver.Receive(ctx, 10); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Receive: %v; want ErrClosed", err)
	}
	if err := receiver.Settle(ctx, held, broker.Ack); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Settle: %v; want ErrClosed", err)
	}
	r.close(receiver)
	r.left(queue, []string{"kept"})
}

func receiverClose(r *rig) {
	c, queue, other := r.connect(), r.name(), r.name()
	one, two := r.subscribe(c, queue, 10), r.subscribe(c, other, 10)
	r.close(one)
	ctx, cancel := r.patient()
	defer cancel()
	if _, err := one.Receive(ctx, 10); !errors.Is(err, broker.ErrClosed) {
		r.Errorf("Receive on a closed receiver: %v; want ErrClosed", err)
	}
	r.publish(c, message(other, "m"), message(queue, "kept"))
	r.same(r.drain(two, 1, 1), []string{"m"})
	if err := c.Err(); err != nil {
		r.Errorf("the connection ended with its receiver: %v; want it open", err)
	}
	r.left(queue, []string{"kept"})
}

func othersLive(r *rig) {
	queue := r.name()
	one, two := r.connect(), r.connect()
	r.subscribe(one, queue, 10)
	receiver := r.subscribe(two, queue, 10)
	r.close(one)
	r.publish(two, messages(queue, "m", 10)...)
	r.same(r.drain(receiver, 10, 10), bodiesOf(messages(queue, "m", 10)))
}

func closeBounded(r *rig) {
	c := r.connect()
	r.subscribe(c, r.name(), 10)
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	r.soon("Close with a cancelled context", func() { _ = c.Close(ctx) })
	r.ended(c.Done(), "Done after Close with a cancelled context")
}

func closeUnderLoad(r *rig) {
	queue := r.name()
	for range 5 {
		c := r.connect()
		receiver := r.subscribe(c, queue, 50)
		ended := make(chan struct{}, 3)
		started := make(chan struct{}, 3)
		go func() {
			defer func() { ended <- struct{}{} }()
			for range 3 {
				if _, err := c.Publish(r.ctx, messages(queue, "load", 100), waybill.Durable); err != nil {
					return
				}
				started <- struct{}{}
			}
			<-c.Done()
		}()
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				deliveries, err := receiver.Receive(r.ctx, 10)
				if err != nil {
					return
				}
				if err := receiver.Settle(r.ctx, deliveries, broker.Ack); err != nil {
					return
				}
			}
		}()
		select {
		case <-started:
		case <-time.After(r.h.Patience):
			r.Fatalf("a batch of 100 is not published after %v", r.h.Patience)
		}
		r.close(c)
		for range 2 {
			select {
			case <-ended:
			case <-time.After(r.h.Patience):
				r.Fatal("Publish or Receive goes on after Close, want both ended")
			}
		}
	}
}
