package amqpvalue_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/internal/amqpvalue"
)

func TestValuesOfBothVersionsOfTheProtocolAreText(t *testing.T) {
	east := time.FixedZone("east", 3600)
	for name, c := range map[string]struct {
		value any
		want  string
		ok    bool
	}{
		"text":         {"täxt", "täxt", true},
		"nothing":      {nil, "", true},
		"bytes":        {[]byte("raw"), "raw", true},
		"binary":       {[]byte{0xff, 0x00}, "\xff\x00", true},
		"a time":       {time.Date(2026, 9, 21, 15, 13, 20, 1e6, east), "2026-09-21T14:13:20.001Z", true},
		"a number":     {int64(-7), "-7", false},
		"another type": {struct{ A int }{1}, "{1}", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := amqpvalue.Text(c.value); got != c.want || ok != c.ok {
				t.Errorf("got %q, %v; want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
}
