package rabbitmq

import (
	"cmp"
	"slices"
	"sync"
)

// deliveryTags are the delivery tags of a channel: which of them are settled, so that one
// frame can settle many, all up to a tag. Tags count from 1 in the order of delivery.
type deliveryTags struct {
	mu   sync.Mutex
	next uint64 // the lowest tag that is not settled
	// settled are those above it that are, in order. Between two runs there is a tag that is
	// not settled, so that there are no more of them than the window is large, however long a
	// message is held while others are settled.
	settled []run
}

// run are tags in a row.
type run struct{ first, last uint64 }

// settle tells the broker of these deliveries, with as few frames as possible: behind one that
// is not settled each needs a frame of its own, since a frame for many takes all below its tag.
// A delivery that is settled already is passed over: to settle it again would end the channel.
// send sends one frame and does not wait; it is called under the lock, because frames that
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
			t.next++
		} else if len(t.settled) > 0 && t.settled[0].first == t.next {
			t.next = t.settled[0].last + 1
			t.settled = slices.Delete(t.settled, 0, 1)
		} else {
			break
		}
	}
	if n > 0 {
		if err := send(fresh[n-1].tag, n > 1); err != nil {
			return err
		}
	}
	for _, token := range fresh[n:] {
		t.note(token.tag)
		if err := send(token.tag, false); err != nil {
			return err
		}
	}
	return nil
}

// note notes that a tag above next is settled, which it was not. t.mu is held.
func (t *deliveryTags) note(tag uint64) {
	// i is the first run that the tag comes before, or behind whose end it is.
	i, _ := slices.BinarySearchFunc(t.settled, tag, func(r run, tag uint64) int { return cmp.Compare(r.last+1, tag) })
	switch {
	case i < len(t.settled) && t.settled[i].last+1 == tag:
		t.settled[i].last = tag
		if i+1 < len(t.settled) && t.settled[i+1].first == tag+1 {
			t.settled[i].last = t.settled[i+1].last
			t.settled = slices.Delete(t.settled, i+1, i+2)
		}
	case i < len(t.settled) && t.settled[i].first == tag+1:
		t.settled[i].first = tag
	default:
		t.settled = slices.Insert(t.settled, i, run{tag, tag})
	}
}

func byTag(a, b *token) int { return cmp.Compare(a.tag, b.tag) }
