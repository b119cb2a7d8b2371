package relay

import "time"

// pausableClock measures the time in which receipts can arrive. It stands still
// while the broker is away, and a pause of the process (a stopped machine, a suspended
// laptop) counts little, so that neither looks like silence of every consumer and
// floods the queues with copies.
type pausableClock struct {
	elapsed time.Duration
	last    time.Time // when it was last looked at
	on      bool
}

// longestStep is the most that the clock advances between two looks at it; the
// relay looks more often while anything waits for its receipt.
const longestStep = 2 * time.Second

// now is the time that has been measured so far.
func (c *pausableClock) now() time.Duration {
	if c.on {
		t := time.Now()
		c.elapsed += min(t.Sub(c.last), longestStep)
		c.last = t
	}
	return c.elapsed
}

// run lets the clock go on, or stand still.
func (c *pausableClock) run(on bool) {
	c.now()
	c.on, c.last = on, time.Now()
}
