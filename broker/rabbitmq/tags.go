package rabbitmq

import (
	"cmp"
	"slices"
	"sync"
)

// deliveryTags are the delivery tags of a channel: which of them are settled, so that one
// frame can settle many, all up to a tag. Tags count from 1 in the order of delivery.
type deliveryTags struct {
	mu      sync.Mutex
	next    uint64              // the lowest tag that is not settled
	settled map[uint64]struct{} // those above it that are
}

// settle tells the broker of these deliveries, with as few frames as possible. A delivery
// that is settled already is passed over: to settle it again would end the channel. send
// sends one frame and does not wait; it is called under the lock, because frames that
// overtake each other would name tags that are settled already.
func (t *deliveryTags) settle(tokens []*token, send func(tag uint64, multiple bool) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := tokens[:0]
	for _, token := range tokens {
		if !token.settled {
			token.settled = true
			fresh = append(fresh, token)
		}
	}
	if !slices.IsSortedFunc(fresh, byTag) {
		slices.SortFunc(fresh, byTag)
	}
	// One frame for all from next on, up to the first that is not settled.
	n := 0
	for {
		if n < len(fresh) && fresh[n].tag == t.next {
			n++
		} else if _, ok := t.settled[t.next]; ok {
			delete(t.settled, t.next)
		} else {
			break
		}
		t.next++
	}
	if n > 0 {
		if err := send(fresh[n-1].tag, n > 1); err != nil {
			return err
		}
	}
	for _, token := range fresh[n:] {
		if t.settled == nil {
			t.settled = map[uint64]struct{}{}
		}
		t.settled[token.tag] = struct{}{}
		if err := send(token.tag, false); err != nil {
			return err
		}
	}
	return nil
}

func byTag(a, b *token) int { return cmp.Compare(a.tag, b.tag) }
