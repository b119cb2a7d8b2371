package process

import (
	"math/rand/v2"
	"time"
)

// strike is one step of a plan: who is killed, and what has to have happened since the
// step before, so that it hits processes that are at work.
type strike struct {
	victims []int // places in the fleet
	// effects is how many more effects the consumer's database must hold before.
	effects int
	// commits is how many more transactions the producer commits before the victims
	// are started again; 0: at once.
	commits int
}

// plan makes n strikes at the relays, which are the first places of the fleet, the
// consumers, which are the others, or all at once.
func plan(dice *rand.Rand, n, relays, consumers int) []strike {
	all := relays + consumers
	strikes := make([]strike, n)
	for i := range strikes {
		s := &strikes[i]
		switch kind := dice.IntN(10); {
		case kind < 4: // a relay: perhaps the one that leads
			s.victims = []int{dice.IntN(relays)}
		case kind < 8: // a consumer
			s.victims = []int{relays + dice.IntN(consumers)}
		case kind < 9: // every relay
			s.victims = dice.Perm(relays)
		default:
			s.victims = dice.Perm(all)
		}
		s.effects = dice.IntN(150)
		if dice.IntN(2) == 0 {
			s.commits = dice.IntN(100)
		}
	}
	return strikes
}

// pollEvery is how often a condition is looked at.
const pollEvery = 5 * time.Millisecond

// until waits for a condition, and reports whether it came true within limit.
func until(limit time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pollEvery)
	}
	return true
}
