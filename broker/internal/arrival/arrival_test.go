package arrival_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/arrival"
)

// conn is a connection that a test ends.
type conn struct {
	done chan struct{}
	err  error
}

func newConn() *conn { return &conn{done: make(chan struct{})} }

func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

func (c *conn) end(err error) {
	c.err = err
	close(c.done)
}

// batch makes a message for each letter.
func batch(letters string) (deliveries []broker.Delivery) {
	for i := range letters {
		deliveries = append(deliveries, broker.Delivery{Message: broker.Message{Body: []byte{letters[i]}}})
	}
	return deliveries
}

// receive returns the letters that one Receive brings.
func receive(t *testing.T, b *arrival.Buffer, limit int) (letters string) {
	t.Helper()
	deliveries, err := b.Receive(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range deliveries {
		letters += string(deliveries[i].Body)
	}
	return letters
}

func TestMessagesComeInOrderAndNoMoreThanTheLimit(t *testing.T) {
	b := arrival.NewBuffer(newConn())
	b.Add(batch("abc")...)
	b.Add(batch("de")...)
	for _, c := range []struct {
		limit int
		want  string
	}{{2, "ab"}, {0, "c"}, {10, "de"}} {
		if got := receive(t, b, c.limit); got != c.want {
			t.Errorf("Receive with the limit %d brought %q, want %q", c.limit, got, c.want)
		}
	}
}

func TestWhatIsDroppedDoesNotCome(t *testing.T) {
	b := arrival.NewBuffer(newConn())
	b.Add(batch("abcd")...)
	b.Drop(func(d broker.Delivery) bool { return d.Body[0] == 'b' || d.Body[0] == 'd' })
	if got := receive(t, b, 10); got != "ac" {
		t.Errorf("got %q, want ac", got)
	}
}

func TestAReceiveThatWaitsEndsWithWhateverEndsFirst(t *testing.T) {
	why := errors.New("why")
	for name, c := range map[string]struct {
		end  func(b *arrival.Buffer, c *conn, cancel context.CancelFunc)
		want error
	}{
		"the subscription": {func(b *arrival.Buffer, _ *conn, _ context.CancelFunc) { b.End(why); b.End(errors.New("too late")) }, why},
		"the connection":   {func(_ *arrival.Buffer, c *conn, _ context.CancelFunc) { c.end(why) }, why},
		"the context":      {func(_ *arrival.Buffer, _ *conn, cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				conn := newConn()
				b := arrival.NewBuffer(conn)
				var got error
				go func() { _, got = b.Receive(ctx, 1) }()
				synctest.Wait()
				c.end(b, conn, cancel)
				synctest.Wait()
				if !errors.Is(got, c.want) {
					t.Errorf("Receive: %v; want %v", got, c.want)
				}
			})
		})
	}
}

func TestAfterTheEndNothingComes(t *testing.T) {
	b := arrival.NewBuffer(newConn())
	b.Add(batch("a")...)
	b.End(broker.ErrClosed)
	b.Add(batch("b")...)
	if deliveries, err := b.Receive(t.Context(), 1); !errors.Is(err, broker.ErrClosed) || deliveries != nil {
		t.Errorf("Receive after the end: %d messages, error %v; want ErrClosed", len(deliveries), err)
	}
	select {
	case <-b.Done():
	default:
		t.Error("Done is open after the end")
	}
}
