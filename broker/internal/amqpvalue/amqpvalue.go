// Package amqpvalue turns the values that foreign producers put into the headers of AMQP
// messages, in either version of the protocol, into the text that Waybill's headers are.
package amqpvalue

import (
	"fmt"
	"time"
)

// Text returns a value as text. The types that only one version of the protocol has are
// the caller's: ok is false, and the text what package fmt makes of the value.
func Text(value any) (text string, ok bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case nil:
		return "", true
	case []byte:
		return string(value), true // what is no UTF-8 is the core's concern
	case time.Time:
		return value.UTC().Format(time.RFC3339Nano), true
	}
	return fmt.Sprint(value), false
}
