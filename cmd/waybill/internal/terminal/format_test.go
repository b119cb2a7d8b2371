package terminal_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
)

func TestValuesReadWell(t *testing.T) {
	for want, got := range map[string]string{
		"0.0s": terminal.Span(0), "1.5s": terminal.Span(1500 * time.Millisecond), "59s": terminal.Span(59 * time.Second),
		"1m01s": terminal.Span(61 * time.Second), "1h30m": terminal.Span(90 * time.Minute), "2d01h": terminal.Span(49 * time.Hour),

		"due in 1m30s": terminal.Age(-90 * time.Second), "5.0s": terminal.Age(5 * time.Second),

		"0": terminal.Number(0), "999": terminal.Number(999), "1,000": terminal.Number(1000),
		"1,234,567": terminal.Number(1234567), "-1,000": terminal.Number(-1000), "-1,234,567": terminal.Number(-1234567), "-999": terminal.Number(-999),

		"orders": terminal.Destination("orders", false), "prices (topic)": terminal.Destination("prices", true),
	} {
		t.Run(want, func(t *testing.T) {
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
