package jmsbroker_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// What one adapter publishes the other consumes, unchanged, on both brokers.
func TestWhatOneProtocolPublishesTheOtherConsumes(t *testing.T) {
	for _, server := range []string{"ACTIVEMQ", "ARTEMIS"} {
		t.Run(server, func(t *testing.T) {
			s, err := stomp.New(testserver.Address(t, "WAYBILL_TEST_"+server+"_STOMP"), nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := amqp1.New(testserver.Address(t, "WAYBILL_TEST_"+server+"_AMQP1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, direction := range []struct {
				name     string
				from, to broker.Broker
			}{{"STOMP to AMQP", s, a}, {"AMQP to STOMP", a, s}} {
				for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
					for _, topic := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s/%v/topic %v", direction.name, transport, topic), func(t *testing.T) {
							cross(t, direction.from, direction.to, transport, topic)
						})
					}
				}
			}
		})
	}
}

func cross(t *testing.T, from, to broker.Broker, transport waybill.Transport, topic bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience.Limit)
	defer cancel()
	sender, receiver := connect(ctx, t, from), connect(ctx, t, to)
	base := fmt.Sprintf("cross-%d", time.Now().UnixNano())
	for _, destination := range []string{base, base + ".eu/1:a::b é", "/queue/" + base, "topic://" + base, "ack." + base} {
		destination = strings.ReplaceAll(destination, " ", "_")
		r, err := receiver.Subscribe(ctx, broker.Subscription{Destination: destination, Topic: topic, Group: "cross/group.1", Prefetch: 100})
		if err != nil {
			t.Fatal(err)
		}
		ms := samples(destination, topic)
		results, err := sender.Publish(ctx, ms, transport)
		if err != nil {
			t.Fatal(err)
		}
		for i := range results {
			if results[i].Fate != broker.Confirmed {
				t.Fatalf("message %d: %v: %v", i, results[i].Fate, results[i].Err)
			}
		}
		for n := 0; n < len(ms); {
			deliveries, err := r.Receive(ctx, 100)
			if err != nil {
				t.Fatalf("%v after %d of %d messages", err, n, len(ms))
			}
			for i := range deliveries {
				if n < len(ms) {
					same(t, &deliveries[i].Message, &ms[n])
				}
				n++
			}
			if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func connect(ctx context.Context, t *testing.T, b broker.Broker) broker.Conn {
	c, err := b.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// samples makes messages of every kind to one destination.
func samples(destination string, topic bool) []broker.Message {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	bodies := [][]byte{
		{}, []byte("x"), []byte("plain text"), []byte("zero\x00within"), {0}, []byte("ümläut 漢字 🚚🏳️‍🌈"), []byte("\xf0\x9f\x9a\x9a\x00"),
		every, {0xff, 0xfe, 0xc0, 0x80}, []byte("\xed\xa0\xbd\xed\xba\x9a"), []byte("\n\n\x00\n"), []byte(`{"json":"🚚"}`), []byte("\xef\xbb\xbfmarked"),
		bytes.Repeat([]byte("0123456789abcdef"), 20_000), bytes.Repeat(every, 4_000),
	}
	types := []string{
		"", "application/octet-stream", "application/json", "text/plain", "text/plain; charset=utf-8", "text/plain;charset=utf-16",
		"application/vnd.waybill+json", "application/xml", "Strange/Type; a=\"b:c\"",
	}
	var ms []broker.Message
	for i, body := range bodies {
		for k, contentType := range types {
			if len(body) > 10_000 && k > 2 {
				continue
			}
			id := waybill.NewID().String()
			ms = append(ms, broker.Message{
				Destination: destination, Topic: topic, Key: "order 4711/é", Body: body, ContentType: contentType,
				Headers: []broker.Header{
					{Name: "messageId", Value: id}, {Name: "businessMark", Value: "order 4711/é"}, {Name: "timeStamp", Value: "1790000000000001"},
					{Name: "sequence", Value: fmt.Sprint(i*len(types) + k)}, {Name: "producer", Value: "orders.eu/1"}, {Name: "receiptTo", Value: "ack.orders.eu/1"},
					{Name: "attempt", Value: "0"}, {Name: "failures", Value: "2"}, {Name: "floor", Value: id}, {Name: "waybill", Value: "receipt.v1"},
					{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
					{Name: "empty", Value: ""}, {Name: "spaces", Value: "  both  "}, {Name: "with-dash.dot$x", Value: `a:b\c "d" ü 🚚`}, {Name: "number", Value: "0012"}, {Name: "bool", Value: "true"},
				},
			})
		}
	}
	// A receipt, and a message with nothing at all.
	ms = append(ms, broker.Message{
		Destination: destination, Topic: topic, ContentType: "application/json",
		Headers: []broker.Header{{Name: "waybill", Value: "receipt.v1"}},
		Body:    []byte(`{"consumer":"shipping","receipts":[{"id":"` + waybill.NewID().String() + `","outcome":"rejected","error":"no such order: é"}]}`),
	}, broker.Message{Destination: destination, Topic: topic})
	return ms
}

func same(t *testing.T, got, want *broker.Message) {
	t.Helper()
	place, _ := want.Header("sequence")
	what := fmt.Sprintf("message %s to %q, %q of %d bytes %.20q", place, want.Destination, want.ContentType, len(want.Body), want.Body)
	if got.Destination != want.Destination || got.Topic != want.Topic || got.Key != want.Key {
		t.Errorf("%s: destination %q, topic %v, key %q; want key %q", what, got.Destination, got.Topic, got.Key, want.Key)
	}
	if !bytes.Equal(got.Body, want.Body) {
		t.Errorf("%s: the body arrived as %d bytes %.20q", what, len(got.Body), got.Body)
	}
	if got.ContentType != want.ContentType {
		t.Errorf("%s: the content type arrived as %q", what, got.ContentType)
	}
	for _, h := range want.Headers {
		if value, ok := got.Header(h.Name); !ok || value != h.Value {
			t.Errorf("%s: the header %s arrived as %q (%v), want %q", what, h.Name, value, ok, h.Value)
		}
	}
}
