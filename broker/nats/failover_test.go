package nats_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
)

// traffic is a publisher and a consumer of one queue that, as the relay and the
// inbox do, connect again when a connection breaks and send again what is not
// confirmed.
type traffic struct {
	b     broker.Broker
	queue string

	mu        sync.Mutex
	changed   chan struct{}   // closed with each change
	confirmed map[string]bool // by body
	received  map[string]bool
	publisher string // the server that each is connected to
	consumer  string
	troubles  map[string]int // errors, and how often each was met
}

// step is how many more messages show that traffic goes on.
const step = 200

// change calls change under the lock, and wakes those that wait.
func (f *traffic) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait waits until is returns true.
func (f *traffic) wait(ctx context.Context, is func() bool) error {
	for {
		f.mu.Lock()
		done, changed := is(), f.changed
		f.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// goesOn waits until step more messages are confirmed and received.
func (f *traffic) goesOn(ctx context.Context, t *testing.T, when string) {
	t.Helper()
	f.mu.Lock()
	confirmed, received := len(f.confirmed)+step, len(f.received)+step
	f.mu.Unlock()
	if f.wait(ctx, func() bool { return len(f.confirmed) >= confirmed && len(f.received) >= received }) != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		t.Fatalf("%s traffic does not go on: %d of %d confirmed, %d of %d received; it met with %v",
			when, len(f.confirmed), confirmed, len(f.received), received, f.troubles)
	}
}

// trouble notes an error, and waits a moment before the next attempt.
func (f *traffic) trouble(ctx context.Context, err error) {
	f.change(func() { f.troubles[err.Error()]++ })
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

// over calls run with one connection after the other until the context ends.
func (f *traffic) over(ctx context.Context, run func(c broker.Conn) error) {
	for ctx.Err() == nil {
		c, err := f.b.Connect(ctx)
		if err == nil {
			err = run(c)
			_ = c.Close(context.WithoutCancel(ctx))
		}
		if err != nil && ctx.Err() == nil {
			f.trouble(ctx, err)
		}
	}
}

// publish publishes numbered messages until stop is closed and all are confirmed.
func (f *traffic) publish(ctx context.Context, stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var pending []broker.Message
	next := 0
	f.over(ctx, func(c broker.Conn) error {
		f.change(func() { f.publisher = nats.ServerOf(c) })
		for {
			select {
			case <-stop:
				if len(pending) == 0 {
					cancel()
					return nil
				}
			default:
				for ; len(pending) < 20; next++ {
					pending = append(pending, broker.Message{Destination: f.queue, Body: fmt.Append(nil, next)})
				}
			}
			// What waits at the broker is bounded, as by a relay.
			if err := f.wait(ctx, func() bool { return len(f.confirmed)-len(f.received) < 5*step }); err != nil {
				return err
			}
			results, err := c.Publish(ctx, pending, waybill.Durable)
			var left []broker.Message
			var reason error
			f.change(func() {
				for i := range results {
					if results[i].Fate == broker.Confirmed {
						f.confirmed[string(pending[i].Body)] = true
						continue
					}
					left = append(left, pending[i])
					reason = fmt.Errorf("%v: %w", results[i].Fate, results[i].Err)
				}
			})
			pending = left
			if err != nil {
				return err
			}
			if reason != nil {
				f.trouble(ctx, reason)
			}
		}
	})
}

// consume receives and acknowledges until the context ends.
func (f *traffic) consume(ctx context.Context) {
	f.over(ctx, func(c broker.Conn) error {
		f.change(func() { f.consumer = nats.ServerOf(c) })
		r, err := c.Subscribe(ctx, broker.Subscription{Destination: f.queue, Prefetch: 100})
		if err != nil {
			return err
		}
		for {
			deliveries, err := r.Receive(ctx, 50)
			if err != nil {
				return err
			}
			if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
				return err
			}
			f.change(func() {
				for i := range deliveries {
					f.received[string(deliveries[i].Body)] = true
				}
			})
		}
	})
}

// lost are the messages that were confirmed and have not been received.
func (f *traffic) lost() (lost []string) {
	for body := range f.confirmed {
		if !f.received[body] {
			lost = append(lost, body)
		}
	}
	return lost
}

func TestAClusterGoesOnWhenAnyOneServerIsKilled(t *testing.T) {
	c := newCluster(t)
	f := &traffic{
		b:     open(t, c.address(), options{ConfirmTimeout: 2 * time.Second}),
		queue: "failover", changed: make(chan struct{}),
		confirmed: map[string]bool{}, received: map[string]bool{}, troubles: map[string]int{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	stop := make(chan struct{})
	var publisher, consumer sync.WaitGroup
	defer func() { cancel(); publisher.Wait(); consumer.Wait() }()
	publisher.Go(func() { f.publish(ctx, stop) })
	consumer.Go(func() { f.consume(ctx) })

	f.goesOn(ctx, t, "before anything is killed")
	for _, victim := range []struct {
		name   string
		server func(leader *process) *process
	}{
		{"the publisher's server", func(*process) *process { return c.at(f.publisher) }},
		{"the consumer's server", func(*process) *process { return c.at(f.consumer) }},
		{"the stream's leader", func(leader *process) *process { return leader }},
	} {
		leader := c.whole("waybill-queue-" + f.queue)
		f.mu.Lock()
		s := victim.server(leader)
		f.mu.Unlock()
		killed := time.Now()
		s.stop(t, syscall.SIGKILL)
		f.goesOn(ctx, t, "without "+victim.name)
		t.Logf("without %s, %s, %d messages were confirmed and received after %v", victim.name, s.cluster[1], step, time.Since(killed).Round(time.Millisecond))
		s.start(t)
	}

	close(stop)
	publisher.Wait()
	_ = f.wait(ctx, func() bool { return len(f.lost()) == 0 })
	cancel()
	consumer.Wait()
	if lost := f.lost(); len(lost) > 0 {
		t.Errorf("confirmed and never received: %q", lost)
	}
	t.Logf("%d messages confirmed and received; on the way: %v", len(f.confirmed), f.troubles)
}
