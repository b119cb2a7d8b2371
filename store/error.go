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
	if dialect.Condition(err) == NoTable && !dialect.Refused(err) {
		return &waybill.SchemaError{Side: string(side), Want: newestVersion(dialect, side), Err: err}
	}
	return explained(dialect, fmt.Errorf("waybill: %s: %w", doing, Conflicting(dialect, err)))
}

// explained adds what a person can do about err, where the dialect knows.
func explained(dialect Dialect, err error) error {
	if what := dialect.Explain(err); what != "" {
		return fmt.Errorf("%w (%s)", err, what)
	}
	return err
}

// Conflicting has err match waybill.ErrConflict where it says that a transaction has lost
// to another one; any other error, and nil, it returns as it is.
func Conflicting(dialect Dialect, err error) error {
	if condition(dialect, err) != Conflict {
		return err
	}
	return &conflictError{err}
}

// conflictError is the database's own error, and matches waybill.ErrConflict too.
type conflictError struct{ error }

func (e *conflictError) Unwrap() error        { return e.error }
func (e *conflictError) Is(target error) bool { return target == waybill.ErrConflict }

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
