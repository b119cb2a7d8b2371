package brokertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var serverCases = []testCase{
	{name: "a restart ends connections, and new ones work", skip: needsRestart, run: restartEnds},
	{name: "durable messages survive a restart", skip: needsPersistentRestart, run: restartKeeps},
	{name: "characters of every size survive a restart", skip: needsPersistentRestart, run: restartWide},
	{name: "publishing that a restart interrupts confirms nothing falsely", skip: needsPersistentRestart, run: restartPublish},
	{name: "a group's subscription survives a restart", skip: needsPersistentRestart, run: restartTopic},
	{name: "Connect fails in time while the server is away, and works when it is back", skip: needsStop, run: serverAway},
}

func restartEnds(r *rig) {
	c, queue := r.connect(), r.name()
	receiver := r.subscribe(c, queue, 10)
	errs := make(chan error, 1)
	go func() {
		_, err := receiver.Receive(r.ctx, 10)
		errs <- err
	}()
	r.h.Restart(r)
	select {
	case err := <-errs:
		if err == nil || errors.Is(err, broker.ErrClosed) {
			r.Errorf("Receive when the server ended: %v; want the reason", err)
		}
	case <-time.After(r.h.Patience):
		r.Fatal("Receive goes on after the server ended, want it ended")
	}
	r.broken(c)
	again := r.connect()
	receiver = r.subscribe(again, queue, 10)
	r.publish(again, message(queue, "after"))
	r.same(r.drain(receiver, 1, 1), []string{"after"})
}

func restartKeeps(r *rig) {
	queue := r.name()
	c := r.connect()
	ms := messages(queue, "m", 500)
	r.publish(c, ms...)
	receiver := r.subscribe(c, queue, 100)
	gone := r.drain(receiver, 50, 50)
	// The broker has read the acknowledgements when it answers what is published after
	// them.
	r.publish(c, message(r.name(), "barrier"))
	r.h.Restart(r)
	r.broken(c)
	maybe := map[string]bool{}
	for _, body := range gone {
		maybe[body] = true // the broker may have lost the acknowledgement
	}
	var kept []string
	for _, body := range bodiesOf(ms) {
		if !maybe[body] {
			kept = append(kept, body)
		}
	}
	r.holdsAll(queue, kept, maybe)
}

func restartWide(r *rig) {
	c := r.connect()
	ms := wideMessages(r.name())
	r.publish(c, ms...)
	r.h.Restart(r)
	r.broken(c)
	r.sameWide(r.connect(), ms)
}

func restartPublish(r *rig) {
	queue := r.name()
	c := r.connect()
	var confirmed []string
	maybe := map[string]bool{}
	progress := make(chan struct{}, 100_000)
	finished := make(chan struct{})
	var wrong error
	go func() {
		defer close(finished)
		for i := 0; ; i++ {
			ms := messages(queue, fmt.Sprint(i), 20)
			results, err := c.Publish(r.ctx, ms, waybill.Durable)
			for k, result := range results {
				if result.Fate == broker.Confirmed {
					confirmed = append(confirmed, string(ms[k].Body))
				} else {
					maybe[string(ms[k].Body)] = true
				}
			}
			if len(results) != len(ms) {
				wrong = fmt.Errorf("Publish: got %d results, want %d", len(results), len(ms))
				return
			}
			if err != nil {
				return
			}
			progress <- struct{}{}
		}
	}()
	for range 5 {
		select {
		case <-progress:
		case <-time.After(r.h.Patience):
			r.Fatalf("a batch of 20 is not published after %v", r.h.Patience)
		}
	}
	r.h.Restart(r)
	r.ended(finished, "a Publish under way when the server ended returns an error")
	if wrong != nil {
		r.Fatal(wrong)
	}
	r.broken(c)
	r.holdsAll(queue, confirmed, maybe)
}

func restartTopic(r *rig) {
	if reason := needsTopics(r.h, r.caps); reason != "" {
		r.Skip(reason)
	}
	topic := r.name()
	c := r.connect()
	r.join(c, topic, "group")
	ms := onTopic(messages(topic, "m", 100)...)
	r.publish(c, ms[:50]...)
	r.h.Restart(r)
	r.broken(c)
	again := r.connect()
	r.publish(again, ms[50:]...)
	receiver := r.join(again, topic, "group")
	r.same(r.drain(receiver, 100, 100), bodiesOf(ms))
	r.nothing(receiver)
}

func serverAway(r *rig) {
	c := r.connect()
	stopped := true
	r.h.Stop(r)
	defer func() {
		if stopped {
			r.h.Start(r)
		}
	}()
	r.broken(c)
	for range 3 {
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		began := time.Now()
		if c, err := r.b.Connect(ctx); err == nil {
			r.Error("Connect succeeded while the server is away, want an error")
			r.close(c)
		} else if errors.Is(err, broker.ErrRefused) {
			r.Errorf("Connect: %v; want an error that is not ErrRefused: a server that is away may come back", err)
		}
		if took := time.Since(began); took > 10*time.Second { // a busy machine's second
			r.Errorf("Connect took %v with a context of 1s, want it to end with that", took)
		}
		cancel()
	}
	r.h.Start(r)
	stopped = false
	queue := r.name()
	again := r.connect()
	r.publish(again, message(queue, "back"))
	r.same(r.drain(r.subscribe(again, queue, 1), 1, 1), []string{"back"})
}
