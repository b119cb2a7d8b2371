// Package option checks the fields of an Options struct and fills in their
// defaults. Make a Check, hand it each field, and ask it for Err at the end: all that
// is wrong is reported at once.
package option

import (
	"errors"
	"fmt"
	"time"
)

// Check collects what is wrong with an Options struct. The zero value is ready. It is
// not safe for concurrent use.
type Check struct{ problems []error }

// Problem notes something that is wrong, in the form of fmt.Errorf.
func (c *Check) Problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...))
}

// Count checks a number from 0 to most; most 0 stands for no bound. A 0 becomes the
// default.
func (c *Check) Count(name string, value *int, byDefault, most int) {
	switch {
	case *value < 0 && most > 0, most > 0 && *value > most:
		c.Problem("%s is %d; it can be 1 to %d, or 0 for %d", name, *value, most, byDefault)
	case *value < 0:
		c.Problem("%s is %d, below 0", name, *value)
	case *value == 0:
		*value = byDefault
	}
}

// Duration checks a duration that is not below 0. A 0 becomes the default.
func (c *Check) Duration(name string, value *time.Duration, byDefault time.Duration) {
	switch {
	case *value < 0:
		c.Problem("%s is %v, below 0", name, *value)
	case *value == 0:
		*value = byDefault
	}
}

// Order checks that the field named low is not above the one named high.
func (c *Check) Order(low string, least time.Duration, high string, most time.Duration) {
	if least > most {
		c.Problem("%s %v is above %s %v", low, least, high, most)
	}
}

// Err returns everything that was wrong as one error that begins with
// "waybill: <what>: ", or nil.
func (c *Check) Err(what string) error {
	if len(c.problems) == 0 {
		return nil
	}
	return fmt.Errorf("waybill: %s: %w", what, errors.Join(c.problems...))
}
