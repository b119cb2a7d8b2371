package option_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/option"
)

func TestAZeroFieldBecomesItsDefault(t *testing.T) {
	var c option.Check
	count, span := 0, time.Duration(0)
	c.Count("Batch", &count, 500, 10_000)
	c.Duration("Poll", &span, time.Second)
	if err := c.Err("relay options"); err != nil || count != 500 || span != time.Second {
		t.Errorf("got %d, %v, error %v; want 500, 1s and none", count, span, err)
	}
}

func TestAGivenFieldStays(t *testing.T) {
	var c option.Check
	count, span := 7, time.Minute
	c.Count("Batch", &count, 500, 7)
	c.Duration("Poll", &span, time.Second)
	c.Order("Poll", span, "Lease", span)
	if err := c.Err("relay options"); err != nil || count != 7 || span != time.Minute {
		t.Errorf("got %d, %v, error %v; want 7, 1m0s and none", count, span, err)
	}
}

func TestEverythingThatIsWrongIsReportedAtOnce(t *testing.T) {
	var c option.Check
	above, below, unbounded, span := 11, -1, -2, -time.Second
	c.Count("Above", &above, 5, 10)
	c.Count("Below", &below, 5, 10)
	c.Count("Unbounded", &unbounded, 5, 0)
	c.Duration("Span", &span, time.Second)
	c.Order("Low", 2*time.Second, "High", time.Second)
	c.Problem("Name %q is taken", "x")
	err := c.Err("relay options")
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"waybill: relay options: ",
		"Above is 11; it can be 1 to 10, or 0 for 5",
		"Below is -1; it can be 1 to 10, or 0 for 5",
		"Unbounded is -2, below 0",
		"Span is -1s, below 0",
		"Low 2s is above High 1s",
		`Name "x" is taken`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q; want it to say %q", err, want)
		}
	}
}
