package amqp1

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// Producers other than Waybill use sections and types of their own.
func TestForeignBodiesAndPropertiesArriveAsBytesAndText(t *testing.T) {
	contentType := "text/plain"
	for name, c := range map[string]struct {
		in      amqp.Message
		body    string
		headers map[string]string
	}{
		"several data sections": {in: amqp.Message{Data: [][]byte{[]byte("a"), []byte("b")}}, body: "ab"},
		"nothing at all":        {in: amqp.Message{}},
		"a JMS text message":    {in: amqp.Message{Value: "text", Properties: &amqp.MessageProperties{ContentType: &contentType}}, body: "text"},
		"binary as a value":     {in: amqp.Message{Value: []byte{0, 1}}, body: "\x00\x01"},
		"null":                  {in: amqp.Message{Value: amqp.Null{}}},
		"a number":              {in: amqp.Message{Value: int64(-7)}, body: "-7"},
		"a map":                 {in: amqp.Message{Value: map[string]any{"n": int32(1), "l": []any{"x", true, nil}}}, body: `{"l":["x",true,null],"n":1}`},
		"a map with odd keys":   {in: amqp.Message{Value: map[any]any{int32(1): []byte("b")}}, body: `{"1":"Yg=="}`},
		"a list":                {in: amqp.Message{Value: []any{int8(1), "two", 3.5}}, body: `[1,"two",3.5]`},
		"sequences":             {in: amqp.Message{Sequence: [][]any{{"a"}, {uint16(2)}}}, body: `["a",2]`},
		"properties": {
			in: amqp.Message{ApplicationProperties: map[string]any{
				"b": true, "i": int32(-1), "u": uint64(1) << 63, "f": 1.5, "n": nil, "bin": []byte("x"), "raw": []byte{0xff, 0x00},
				"t": time.UnixMilli(1).UTC(), "s": amqp.Symbol("symbol"), "receipt": "taken", "JMS_AMQP_NATIVE": true, "businessMark": int32(7),
			}},
			headers: map[string]string{
				"b": "true", "i": "-1", "u": "9223372036854775808", "f": "1.5", "n": "", "bin": "x", "raw": "\xff\x00",
				"t": "1970-01-01T00:00:00.001Z", "s": "symbol", "businessMark": "7",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := decode(&c.in, &broker.Subscription{Destination: "q"})
			if string(d.Body) != c.body {
				t.Errorf("the body is %q, want %q", d.Body, c.body)
			}
			if len(d.Headers) != len(c.headers) {
				t.Errorf("headers %v, want %v", d.Headers, c.headers)
			}
			for name, want := range c.headers {
				if value, ok := d.Header(name); !ok || value != want {
					t.Errorf("header %s is %q (%v), want %q", name, value, ok, want)
				}
			}
			if want := c.headers["businessMark"]; d.Key != want {
				t.Errorf("Key is %q, want %q", d.Key, want)
			}
		})
	}
}

func TestALinkThatHasEndedIsOpenedAgain(t *testing.T) {
	c := connected(t, "WAYBILL_TEST_ARTEMIS_AMQP1")
	queue := "link-" + waybill.NewID().String()
	ms := []broker.Message{{Destination: queue}, {Destination: queue}}
	for range 3 {
		results, err := c.Publish(t.Context(), ms, waybill.Durable)
		if err != nil || results[0].Fate != broker.Confirmed || results[1].Fate != broker.Confirmed {
			t.Fatalf("%v, %v; want confirmed", results, err)
		}
		k := c.links.open[destination{queue, false}]
		if k == nil || k.users != 0 {
			t.Fatalf("the link is kept as %+v; want one without users", k)
		}
		if err := k.sender.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// More destinations than links that are kept, from several goroutines at once.
func TestOneConnectionPublishesToAnyNumberOfDestinations(t *testing.T) {
	for _, variable := range []string{"WAYBILL_TEST_ACTIVEMQ_AMQP1", "WAYBILL_TEST_ARTEMIS_AMQP1"} {
		t.Run(variable, func(t *testing.T) {
			c := connected(t, variable)
			c.links.most = 5
			prefix := "many-" + waybill.NewID().String() + "-"
			var all sync.WaitGroup
			for g := range 3 {
				all.Go(func() {
					for round := range 5 {
						var ms []broker.Message
						for i := range 8 {
							ms = append(ms, broker.Message{Destination: fmt.Sprint(prefix, (i*3+g+round)%20), Topic: i%2 == 1})
						}
						results, err := c.Publish(t.Context(), ms, waybill.Transient)
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range results {
							if r.Fate != broker.Confirmed {
								t.Errorf("a message is %v: %v; want confirmed", r.Fate, r.Err)
							}
						}
					}
				})
			}
			all.Wait()
			if n := len(c.links.open); n > 5+3*8 {
				t.Errorf("%d links are kept, want at most %d", n, 5+3*8)
			}
			for _, k := range c.links.open {
				if k.users != 0 {
					t.Errorf("a link has %d users after all have returned, want none", k.users)
				}
			}
		})
	}
}

// A broker that finds a message too large ends the link or the connection and does
// not say which message it was.
func TestTheMessageThatEndedTheConnectionIsUnacceptable(t *testing.T) {
	said := func(condition amqp.ErrCond) error {
		return fmt.Errorf("amqp1: %w", &amqp.ConnError{RemoteErr: &amqp.Error{Condition: condition}})
	}
	unknown := func(err error) broker.Result { return broker.Result{Fate: broker.Unknown, Err: err} }
	for name, c := range map[string]struct {
		sizes   []int
		results []broker.Result
		blamed  int // -1 for none
	}{
		"the largest of those without an answer": {
			[]int{900_000, 100, 200_000, 100},
			[]broker.Result{{Fate: broker.Confirmed}, unknown(said(amqp.ErrCondDecodeError)), unknown(said(amqp.ErrCondDecodeError)), unknown(nil)}, 2,
		},
		"no small one for a decode error": {
			[]int{100, 1000}, []broker.Result{unknown(said(amqp.ErrCondDecodeError)), unknown(said(amqp.ErrCondDecodeError))}, -1,
		},
		"a small one if the broker says that the size is the reason": {
			[]int{100, 1000}, []broker.Result{unknown(said(amqp.ErrCondMessageSizeExceeded)), unknown(said(amqp.ErrCondMessageSizeExceeded))}, 1,
		},
		"none for another reason": {
			[]int{900_000}, []broker.Result{unknown(said(amqp.ErrCondConnectionForced))}, -1,
		},
		"none that was not begun": {
			[]int{100, 900_000}, []broker.Result{unknown(said(amqp.ErrCondMessageSizeExceeded)), unknown(nil)}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &publication{results: c.results}
			for i, size := range c.sizes {
				p.messages = append(p.messages, broker.Message{Body: make([]byte, size)})
				if c.results[i].Err != nil {
					p.tried = append(p.tried, i)
				}
			}
			p.blame()
			for i, r := range p.results {
				if (r.Fate == broker.Unacceptable) != (i == c.blamed) {
					t.Errorf("message %d is %v; want the one at %d Unacceptable, and no other", i, r.Fate, c.blamed)
				}
			}
		})
	}
}

func connected(t *testing.T, variable string) *conn {
	t.Helper()
	b, err := New(testserver.Address(t, variable), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c.(*conn)
}
