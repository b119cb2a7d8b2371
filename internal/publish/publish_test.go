package publish_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/publish"
)

// conn is a connection of which Publish is all that there is.
type conn struct {
	broker.Conn
	publish func(ctx context.Context, messages []broker.Message) ([]broker.Result, error)
}

func (c conn) Publish(ctx context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	return c.publish(ctx, messages)
}

var three = make([]broker.Message, 3)

func TestTheBrokersResultsAreReturnedAsTheyAre(t *testing.T) {
	reason := errors.New("no such queue")
	want := []broker.Result{{Fate: broker.Confirmed}, {Fate: broker.Refused, Err: reason}, {Fate: broker.Unknown, Err: reason}}
	c := conn{publish: func(context.Context, []broker.Message) ([]broker.Result, error) { return want, nil }}
	results, timedOut, err := publish.Batch(t.Context(), c, three, waybill.Durable)
	if err != nil || timedOut {
		t.Errorf("got timed out %v, error %v; want neither", timedOut, err)
	}
	check(t, results, want)
}

func TestResultsThatAConnectionDoesNotReturnAreUnknownWithItsError(t *testing.T) {
	broken := errors.New("connection reset")
	c := conn{publish: func(context.Context, []broker.Message) ([]broker.Result, error) {
		return []broker.Result{{Fate: broker.Confirmed}}, broken
	}}
	results, timedOut, err := publish.Batch(t.Context(), c, three, waybill.Durable)
	if !errors.Is(err, broken) || timedOut {
		t.Errorf("got timed out %v, error %v; want the connection's error alone", timedOut, err)
	}
	unknown := broker.Result{Fate: broker.Unknown, Err: broken}
	check(t, results, []broker.Result{{Fate: broker.Confirmed}, unknown, unknown})
}

func TestWhatTheBrokerDoesNotAnswerInTimeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conn{publish: func(ctx context.Context, messages []broker.Message) ([]broker.Result, error) {
			<-ctx.Done()
			return []broker.Result{{Fate: broker.Confirmed}, {Fate: broker.Unknown, Err: ctx.Err()}, {Fate: broker.Unknown, Err: ctx.Err()}}, nil
		}}
		began := time.Now()
		results, timedOut, err := publish.Batch(t.Context(), c, three, waybill.Durable)
		if took := time.Since(began); took != publish.Timeout {
			t.Errorf("it took %v, want %v", took, publish.Timeout)
		}
		if err != nil || !timedOut {
			t.Errorf("got timed out %v, error %v; want a time-out and no error", timedOut, err)
		}
		unanswered := broker.Result{Fate: broker.Unknown, Err: publish.ErrNotAnswered}
		check(t, results, []broker.Result{{Fate: broker.Confirmed}, unanswered, unanswered})
	})
}

func TestACallersOwnDeadlineIsNoTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conn{publish: func(ctx context.Context, messages []broker.Message) ([]broker.Result, error) {
			<-ctx.Done()
			unknown := broker.Result{Fate: broker.Unknown, Err: ctx.Err()}
			return []broker.Result{unknown, unknown, unknown}, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results, timedOut, err := publish.Batch(ctx, c, three, waybill.Durable)
		if err != nil || timedOut {
			t.Errorf("got timed out %v, error %v; want neither", timedOut, err)
		}
		unknown := broker.Result{Fate: broker.Unknown, Err: context.DeadlineExceeded}
		check(t, results, []broker.Result{unknown, unknown, unknown})
	})
}

func check(t *testing.T, got, want []broker.Result) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d results, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Fate != want[i].Fate || !errors.Is(got[i].Err, want[i].Err) {
			t.Errorf("message %d: got %v (%v), want %v (%v)", i, got[i].Fate, got[i].Err, want[i].Fate, want[i].Err)
		}
	}
}
