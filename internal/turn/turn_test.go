package turn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-go/waybill/internal/turn"
)

// enters reports how long a caller has waited for its turn.
func enters(t *testing.T, l *turn.Line) (leave func(), waited time.Duration) {
	t.Helper()
	began := time.Now()
	leave, ok := l.Enter(t.Context(), nil)
	if !ok {
		t.Fatal("got no turn, want one")
	}
	return leave, time.Since(began)
}

func TestAFewAreInsideAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := turn.NewLine(2, time.Minute)
		first, _ := enters(t, l)
		second, waited := enters(t, l)
		if waited > 0 {
			t.Errorf("the second of two waited %v, want no time", waited)
		}
		time.AfterFunc(time.Second, first)
		third, waited := enters(t, l)
		if waited != time.Second {
			t.Errorf("the third waited %v, want until the first had left", waited)
		}
		first() // again
		time.AfterFunc(time.Second, second)
		if _, waited = enters(t, l); waited != time.Second {
			t.Errorf("the fourth waited %v, want until another one had left", waited)
		}
		third()
	})
}

func TestOneThatStaysForLongCountsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := turn.NewLine(1, time.Second)
		first, _ := enters(t, l)
		second, waited := enters(t, l)
		if waited != time.Second {
			t.Errorf("waited %v, want the patience", waited)
		}
		first() // takes nothing from the second
		time.AfterFunc(time.Second/2, second)
		if _, waited = enters(t, l); waited != time.Second/2 {
			t.Errorf("waited %v, want until the second had left", waited)
		}
	})
}

func TestNobodyWaitsForATurnThatIsOfNoUse(t *testing.T) {
	l := turn.NewLine(1, time.Hour)
	leave, _ := enters(t, l)
	defer leave()
	ended, end := context.WithCancel(t.Context())
	end()
	if _, ok := l.Enter(ended, nil); ok {
		t.Error("got a turn after the context had ended, want none")
	}
	done := make(chan struct{})
	close(done)
	if _, ok := l.Enter(t.Context(), done); ok {
		t.Error("got a turn after the connection had ended, want none")
	}
}
