package brokertest

import (
	"errors"

	"github.com/waybill-go/waybill/broker"
)

var removeCases = []testCase{
	{name: "a queue that was removed has lost its messages and can be used again", run: removedQueue},
	{name: "a group that was removed has lost its messages, and another one has not", skip: needsTopics, run: removedGroup},
	{name: "a topic that was removed can be used again", skip: needsTopics, run: removedTopic},
	{name: "a group that is not there can be removed", skip: needsTopics, run: removedNoGroup},
	{name: "what is not there can be removed", run: removedNothing},
}

// remove removes, or skips the case where the broker cannot be told to.
func (r *rig) remove(c broker.Conn, s broker.Subscription) {
	r.Helper()
	remover, ok := c.(broker.Remover)
	if !ok {
		r.Skipf("%s is no broker.Remover", r.caps.Name)
	}
	ctx, cancel := r.patient()
	defer cancel()
	err := remover.Remove(ctx, s)
	if errors.Is(err, errors.ErrUnsupported) {
		r.Skip(err)
	}
	if err != nil {
		r.Fatalf("Remove: %v", err)
	}
}

func removedQueue(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, messages(queue, "old", 20)...)
	receiver := r.subscribe(c, queue, 10)
	r.settle(receiver, r.receive(receiver, 1), broker.Ack)
	r.close(receiver)
	r.remove(c, broker.Subscription{Destination: queue})
	r.publish(c, messages(queue, "new", 20)...)
	r.same(r.drain(r.subscribe(c, queue, 10), 20, 10), bodiesOf(messages(queue, "new", 20)))
}

func removedGroup(r *rig) {
	if r.caps.Cumulative {
		r.Skipf("%s keeps a topic's messages for groups that come later, too", r.caps.Name)
	}
	c, topic := r.connect(), r.name()
	for _, group := range []string{"gone", "stays"} {
		r.close(r.join(c, topic, group))
	}
	r.publish(c, onTopic(messages(topic, "old", 20)...)...)
	r.remove(c, broker.Subscription{Destination: topic, Topic: true, Group: "gone"})
	gone, stays := r.join(c, topic, "gone"), r.join(c, topic, "stays")
	ms := onTopic(messages(topic, "new", 20)...)
	r.publish(c, ms...)
	r.same(r.drain(gone, 20, 10), bodiesOf(ms))
	r.same(r.drain(stays, 40, 10), append(bodiesOf(messages(topic, "old", 20)), bodiesOf(ms)...))
}

func removedTopic(r *rig) {
	c, topic := r.connect(), r.name()
	r.close(r.join(c, topic, "group"))
	r.publish(c, onTopic(messages(topic, "old", 20)...)...)
	r.remove(c, broker.Subscription{Destination: topic, Topic: true, Group: "group"})
	r.remove(c, broker.Subscription{Destination: topic, Topic: true})
	receiver := r.join(c, topic, "group")
	ms := onTopic(messages(topic, "new", 20)...)
	r.publish(c, ms...)
	r.same(r.drain(receiver, 20, 10), bodiesOf(ms))
	r.nothing(receiver)
}

func removedNoGroup(r *rig) {
	c, name := r.connect(), r.name()
	for range 2 {
		r.remove(c, broker.Subscription{Destination: name, Topic: true, Group: "group"})
	}
}

func removedNothing(r *rig) {
	c, name := r.connect(), r.name()
	r.remove(c, broker.Subscription{Destination: name, Topic: true})
	r.remove(c, broker.Subscription{Destination: name})
}
