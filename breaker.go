package waybill

import (
	"errors"
	"fmt"
	"time"
)

// BreakerName is who has paused a destination that a Breaker has paused.
const BreakerName = "breaker"

// Breaker has a destination pause itself where too many of its messages are rejected, so that
// a mistake that hits all of them, as in a new version of a handler, leaves the others where
// they are. It is off where both InARow and Rate are 0. The pause is like one of a person's:
// it stands in the table, with the last reason, and 'waybill resume' ends it. Messages that
// are under way when it begins may still be rejected.
type Breaker struct {
	// InARow is how many rejections one after the other pause the destination, without a
	// message between them that took effect. 0: any number.
	InARow int
	// Rate is the share of rejections, above 0 and at most 1, among the messages of which
	// something became within the last Window that pauses it, where these are Least or more.
	// 0: any share.
	Rate   float64
	Window time.Duration // 1 s or more; default 1 min
	Least  int           // default 20
	// For is how long the destination is paused; after that the Breaker begins anew.
	// 0: until somebody resumes it.
	For time.Duration
}

// IsOn reports whether the Breaker ever pauses anything.
func (b Breaker) IsOn() bool { return b.InARow > 0 || b.Rate > 0 }

// Check returns what is wrong with the Breaker, all at once; nil where it can be used.
func (b Breaker) Check() error {
	var wrong []error
	if b.InARow < 0 {
		wrong = append(wrong, fmt.Errorf("InARow is %d, below 0", b.InARow))
	}
	if !(b.Rate >= 0 && b.Rate <= 1) { // nor NaN
		wrong = append(wrong, fmt.Errorf("Rate is %v; it can be above 0, up to 1", b.Rate))
	}
	if b.Window < 0 || b.Window > 0 && b.Window < time.Second {
		wrong = append(wrong, fmt.Errorf("Window is %v; it can be 1s or more, or 0 for 1m", b.Window))
	}
	if b.Least < 0 {
		wrong = append(wrong, fmt.Errorf("Least is %d, below 0", b.Least))
	}
	if b.For < 0 {
		wrong = append(wrong, fmt.Errorf("For is %v, below 0; use 0 for until it is resumed", b.For))
	}
	return errors.Join(wrong...)
}
