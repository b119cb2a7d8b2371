package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/breaker"
)

// tripsAfter plays what becomes of messages: 'a' one takes effect, 'r' one is rejected, '.' a second goes by.
func tripsAfter(b *breaker.Breaker, began time.Time, what string) (after int, why string) {
	now := began
	for i, c := range what {
		switch c {
		case 'a':
			b.Accepted(now)
		case 'r':
			if why = b.Rejected(now, "no such order"); why != "" {
				return i + 1, why
			}
		case '.':
			now = now.Add(time.Second)
		}
	}
	return 0, ""
}

func TestABreakerTripsWhenItIsTo(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		name  string
		o     waybill.Breaker
		what  string
		after int // 0: never
		why   string
	}{
		{"off", waybill.Breaker{Least: 1, For: time.Second}, strings.Repeat("r", 100), 0, ""},
		{"in a row", waybill.Breaker{InARow: 3}, "rrarrarrr", 9, "3 rejections in a row, the last one: no such order"},
		{"never so many in a row", waybill.Breaker{InARow: 3}, strings.Repeat("rra", 50), 0, ""},
		{"the first", waybill.Breaker{InARow: 1}, "aar", 3, "1 rejections"},
		{"too few for a rate", waybill.Breaker{Rate: 0.5}, strings.Repeat("r", 19), 0, ""},
		{"enough for a rate", waybill.Breaker{Rate: 0.5}, strings.Repeat("r", 20), 20, "20 of 20 messages rejected within 1m0s"},
		{"half", waybill.Breaker{Rate: 0.5, Least: 4}, "aarr", 4, "2 of 4"},
		{"less than half", waybill.Breaker{Rate: 0.5, Least: 4}, strings.Repeat("aar", 20), 0, ""},
		{"half, but long ago", waybill.Breaker{Rate: 0.5, Least: 4, Window: 10 * time.Second}, "rrr" + strings.Repeat(".", 12) + "aarr", 20 - 1, "2 of 4"},
		{"a window that is over", waybill.Breaker{Rate: 0.5, Least: 4, Window: 10 * time.Second}, strings.Repeat("r.....", 20), 0, ""},
		{"after a very long time", waybill.Breaker{Rate: 1, Least: 2, Window: time.Second}, "r" + strings.Repeat(".", 10_000) + "rr", 10_003, "2 of 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, why := tripsAfter(breaker.New(c.o, began), began, c.what)
			if after != c.after || !strings.Contains(why, c.why) || (why == "") != (c.after == 0) {
				t.Errorf("got a pause after %d because of %q, want it after %d because of %q", after, why, c.after, c.why)
			}
		})
	}
}

func TestABreakerThatHasTrippedBeginsAnew(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := breaker.New(waybill.Breaker{InARow: 2, Rate: 0.1, Least: 100}, now)
	for range 3 {
		if after, _ := tripsAfter(b, now, "rrr"); after != 2 {
			t.Fatalf("got a pause after %d rejections, want it after each two", after)
		}
	}
	b.Rejected(now, "x")
	b.Reset()
	if why := b.Rejected(now, "x"); why != "" {
		t.Errorf("got a pause because of %q after a reset, want none", why)
	}
}

func TestWhatIsWrongWithABreakerIsToldAtOnce(t *testing.T) {
	if err := (waybill.Breaker{InARow: 5, Rate: 1, Window: time.Second, Least: 1, For: time.Hour}).Check(); err != nil {
		t.Error(err)
	}
	err := waybill.Breaker{InARow: -1, Rate: math.NaN(), Window: time.Millisecond, Least: -1, For: -1}.Check()
	for _, field := range []string{"InARow", "Rate", "Window", "Least", "For"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want something about %s", err, field)
		}
	}
	if (waybill.Breaker{Rate: 1.5}).Check() == nil {
		t.Error("a rate of 1.5: got no error, want one")
	}
}
