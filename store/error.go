package store

import (
	"fmt"

	waybill "github.com/waybill-go/waybill"
)

// wrap says what was being done when err came up; nil stays nil.
func wrap(dialect Dialect, side Side, doing string, err error) error {
	if err == nil {
		return nil
	}
	if dialect.Condition(err) == NoTable {
		return &waybill.SchemaError{Side: string(side), Want: newestVersion(dialect, side), Err: err}
	}
	return fmt.Errorf("waybill: %s: %w", doing, err)
}

// withAdvice adds what the dialect knows a person can do about err.
func withAdvice(dialect Dialect, err error) error {
	adviser, ok := dialect.(Adviser)
	if !ok {
		return err
	}
	advice := adviser.Advice(err)
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}
