package amqp1

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

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
