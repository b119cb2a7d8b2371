package rabbitmq

import (
	"cmp"
	"slices"
	"sync"
)

// ledger knows which tags of a channel are settled, so that one word to the broker
// can settle many: all up to a tag. Tags count from 1 in the order of delivery.
type ledger struct {
	mu   sync.Mutex
	next uint64              // the lowest tag that is not settled
	out  map[uint64]struct{} // those above it that are
}

// settle tells the broker of these deliveries, with as few words as it takes. A
// delivery that is settled already is passed over: a second word on it would be the
// end of the channel. say does not wait; it is called under the lock, because words
// that overtake each other would name tags that are gone.
func (l *ledger) settle(tokens []*token, say func(tag uint64, multiple bool) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := tokens[:0]
	for _, t := range tokens {
		if !t.settled {
			t.settled = true
			fresh = append(fresh, t)
		}
	}
	if !slices.IsSortedFunc(fresh, byTag) {
		slices.SortFunc(fresh, byTag)
	}
	// Everything from next on that is settled now, without a gap.
	n := 0
	for {
		if n < len(fresh) && fresh[n].tag == l.next {
			n++
		} else if _, ok := l.out[l.next]; ok {
			delete(l.out, l.next)
		} else {
			break
		}
		l.next++
	}
	if n > 0 {
		if err := say(fresh[n-1].tag, n > 1); err != nil {
			return err
		}
	}
	for _, t := range fresh[n:] {
		if l.out == nil {
			l.out = map[uint64]struct{}{}
		}
		l.out[t.tag] = struct{}{}
		if err := say(t.tag, false); err != nil {
			return err
		}
	}
	return nil
}

func byTag(a, b *token) int { return cmp.Compare(a.tag, b.tag) }
