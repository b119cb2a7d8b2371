package brokertest

import (
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var topicCases = []testCase{
	{name: "two groups of a topic each get everything", skip: needsTopics, run: twoGroups},
	{name: "a group goes on collecting while nobody of it is there", skip: needsTopics, run: durableGroup},
	{name: "what a group did not settle comes again to it and to nobody else", skip: needsTopics, run: groupUnsettled},
	{name: "subscribers of one group share a topic", skip: needsSharedTopics, run: sharedTopic},
	{name: "a topic and a queue of one name are two destinations", skip: needsTopics, run: topicAndQueue},
	{name: "topics and groups of every allowed spelling work and do not collide", skip: needsTopics, run: topicSpellings},
	{name: "a topic that nobody listens to takes messages", skip: needsTopics, run: topicWithoutGroups},
}

// join subscribes to a topic as a group.
func (r *rig) join(c broker.Conn, topic, group string) broker.Receiver {
	r.Helper()
	return r.subscribeTo(c, broker.Subscription{Destination: topic, Topic: true, Group: group, Prefetch: 100})
}

// onTopic addresses messages to a topic.
func onTopic(ms ...broker.Message) []broker.Message {
	for i := range ms {
		ms[i].Topic = true
	}
	return ms
}

func twoGroups(r *rig) {
	c, topic := r.connect(), r.name()
	one := r.join(c, topic, "one")
	two := r.join(r.connect(), topic, "two")
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		ms := onTopic(messages(topic, transport.String(), 200)...)
		r.publishAs(c, transport, ms...)
		for _, receiver := range []broker.Receiver{one, two} {
			deliveries := r.receive(receiver, 100)
			r.settle(receiver, deliveries, broker.Ack)
			for _, d := range deliveries {
				if d.Destination != topic || !d.Topic {
					r.Fatalf("Destination is %q, Topic %v; want %q, true", d.Destination, d.Topic, topic)
				}
			}
			got := append(bodies(deliveries), r.drain(receiver, 100, 100)...)
			if r.caps.Ordered {
				r.ordered(got, bodiesOf(ms))
			} else {
				r.same(got, bodiesOf(ms))
			}
		}
	}
	r.nothing(one)
	r.nothing(two)
}

func durableGroup(r *rig) {
	publisher, topic := r.connect(), r.name()
	c := r.connect()
	r.close(r.join(c, topic, "group"))
	ms := onTopic(messages(topic, "m", 100)...)
	r.publish(publisher, ms[:50]...)
	r.close(c)
	r.publish(publisher, ms[50:]...)
	receiver := r.join(r.connect(), topic, "group")
	r.same(r.drain(receiver, 100, 100), bodiesOf(ms))
	r.nothing(receiver)
}

func groupUnsettled(r *rig) {
	publisher, topic := r.connect(), r.name()
	c := r.connect()
	one, two := r.join(c, topic, "one"), r.join(publisher, topic, "two")
	ms := onTopic(messages(topic, "m", 40)...)
	r.publish(publisher, ms...)
	want := r.half(one, 40)
	r.same(r.drain(two, 40, 40), bodiesOf(ms))
	r.close(c)
	again := r.join(publisher, topic, "one")
	r.same(r.drain(again, len(want), 100), want)
	r.nothing(again)
	r.nothing(two)
}

func sharedTopic(r *rig) {
	c, topic := r.connect(), r.name()
	one, two := r.join(c, topic, "group"), r.join(r.connect(), topic, "group")
	ms := onTopic(messages(topic, "m", 600)...)
	ctx, cancel := r.patient()
	defer cancel()
	got := make(chan []string, len(ms))
	ended := make(chan struct{}, 2)
	for _, receiver := range []broker.Receiver{one, two} {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				deliveries, err := receiver.Receive(ctx, 10)
				if err != nil || receiver.Settle(ctx, deliveries, broker.Ack) != nil {
					return
				}
				got <- bodies(deliveries)
			}
		}()
	}
	r.publish(c, ms...)
	var all []string
	for len(all) < len(ms) {
		select {
		case bodies := <-got:
			all = append(all, bodies...)
		case <-ctx.Done():
			r.Fatalf("%d messages arrived in %v, want %d", len(all), r.h.Patience, len(ms))
		}
	}
	cancel()
	<-ended
	<-ended
	r.same(all, bodiesOf(ms))
}

func topicAndQueue(r *rig) {
	c, name := r.connect(), r.name()
	topic, queue := r.join(c, name, "group"), r.subscribe(c, name, 10)
	r.publish(c, message(name, "to the queue"), onTopic(message(name, "to the topic"))[0])
	r.same(r.drain(topic, 1, 10), []string{"to the topic"})
	r.same(r.drain(queue, 1, 10), []string{"to the queue"})
	r.nothing(topic)
	r.nothing(queue)
}

func topicSpellings(r *rig) {
	c, base := r.connect(), r.name()
	names := []string{
		base, base + ".a", base + "_a", base + "/a", base + "-a", base + ":a", base + ".A", base + ".", "." + base, base + "é",
		base + "\\a", "topic." + base, "VirtualTopic." + base, "queue://" + base, "$" + base, base + "..a",
	}
	type member struct{ topic, group string }
	var members []member
	for _, topic := range names {
		members = append(members, member{topic, "group"})
	}
	for _, group := range []string{"a.b", "a_b", "a/b", "a-b", "a:b", "A.B", "é", "a..b", ".a", "group.", base} {
		members = append(members, member{base, group})
	}
	receivers := make([]broker.Receiver, len(members))
	for i, m := range members {
		receivers[i] = r.join(c, m.topic, m.group)
	}
	for round := range 2 {
		var ms []broker.Message
		for _, topic := range names {
			ms = append(ms, onTopic(message(topic, fmt.Sprintf("%d to %s", round, topic)))...)
		}
		r.publish(c, ms...)
		for i, m := range members {
			r.same(r.drain(receivers[i], 1, 10), []string{fmt.Sprintf("%d to %s", round, m.topic)})
		}
	}
}

func topicWithoutGroups(r *rig) {
	c, topic := r.connect(), r.name()
	r.publish(c, onTopic(messages(topic, "m", 10)...)...)
	r.publishAs(c, waybill.Transient, onTopic(messages(topic, "m", 10)...)...)
}
