// Package option is what New of several adapters does with its options: copy them, fill
// in defaults, and say which values are out of range.
package option

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Copy returns a copy of the caller's options, or options with the zero value for nil.
func Copy[T any](o *T) *T {
	own := new(T)
	if o != nil {
		*own = *o
	}
	return own
}

// SetDefault sets a field that has its zero value.
func SetDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Between returns an error with the option's name unless value is from least to most.
func Between[T int | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %s, not %s to %s", name, format(value), format(least), format(most))
	}
	return nil
}

// NotNegative returns an error with the option's name where value is below 0.
func NotNegative[T ~int | ~int64](name string, value T) error {
	if value < 0 {
		return fmt.Errorf("%s is below 0", name)
	}
	return nil
}

// Negated sets field where an address has the parameter with the value false: create=false
// sets NoCreate. Any value but true and false is an error.
func Negated(parameters url.Values, name string, field *bool) error {
	switch parameters.Get(name) {
	case "", "true":
	case "false":
		*field = true
	default:
		return fmt.Errorf("the parameter %s is neither true nor false", name)
	}
	return nil
}

// format writes a duration without the zeros at its end: 1h and not 1h0m0s.
func format(value any) string {
	d, ok := value.(time.Duration)
	if !ok {
		return fmt.Sprint(value)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
