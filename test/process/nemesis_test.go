package process

import (
	"math/rand/v2"
)

// kill is one step of a plan: who is killed, and what has to have happened since the
// step before, so that it hits processes that are at work.
type kill struct {
	victims []int // places among the processes
	// effects is how many more effects the consumer's database must hold before.
	effects int
	// commits is how many more transactions the producer commits before the victims
	// are started again; 0: at once.
	commits int
}

// plan makes n kills of the relays, which are the first processes, the consumers, which
// are the others, or all at once.
func plan(dice *rand.Rand, n, relays, consumers int) []kill {
	all := relays + consumers
	kills := make([]kill, n)
	for i := range kills {
		k := &kills[i]
		switch kind := dice.IntN(10); {
		case kind < 4: // a relay: perhaps the one that leads
			k.victims = []int{dice.IntN(relays)}
		case kind < 8: // a consumer
			k.victims = []int{relays + dice.IntN(consumers)}
		case kind < 9: // every relay
			k.victims = dice.Perm(relays)
		default:
			k.victims = dice.Perm(all)
		}
		k.effects = dice.IntN(150)
		if dice.IntN(2) == 0 {
			k.commits = dice.IntN(100)
		}
	}
	return kills
}
