package kafka

// tracks are the partitions of a subscription. They are guarded by their Receiver's mu.
type tracks map[int32]*track

// track is what is known of one partition for as long as it is assigned to us. A new
// assignment is a new track; settling what came by an old one does nothing.
type track struct {
	// open are the messages that were handed over, in the order of their offsets, from
	// the first one that is not settled on.
	open    []*token
	settled int // of those in open
	// next is the position behind the last message handed over.
	next int64
	// epoch is the leader's of the last message before the position.
	epoch     int32
	committed int64 // the position that Kafka knows
	lost      bool
}

// token is what Settle needs to know of a delivery. What changes of it is guarded by
// its Receiver's mu.
type token struct {
	receiver *Receiver
	track    *track
	offset   int64
	epoch    int32
	settled  bool
}

// newTrack begins with the first message of an assignment: what is before it is
// committed, by whoever had the partition before.
func newTrack(offset int64, epoch int32) *track {
	return &track{next: offset, committed: offset, epoch: epoch}
}

// add hands a message over.
func (t *track) add(k *token) {
	t.open = append(t.open, k)
	t.next = k.offset + 1
}

// settle notes that a message is settled. It reports whether that is news.
func (t *track) settle(k *token) bool {
	if k.settled || t.lost {
		return false
	}
	k.settled = true
	t.settled++
	n := 0
	for n < len(t.open) && t.open[n].settled {
		t.epoch = t.open[n].epoch
		t.open[n] = nil
		n++
	}
	t.settled -= n
	if t.open = t.open[n:]; len(t.open) == 0 {
		t.open = nil
	} else if t.settled > 64 && t.settled > len(t.open)/2 {
		t.compact()
	}
	return true
}

// compact drops those that are settled behind one that is not, so that a message which
// stays for long costs no memory.
func (t *track) compact() {
	left := make([]*token, 0, len(t.open)-t.settled)
	for _, k := range t.open {
		if !k.settled {
			left = append(left, k)
		}
	}
	t.open, t.settled = left, 0
}

// position is the place in the partition before which everything is settled, and
// whether that is news to Kafka.
func (t *track) position() (offset int64, epoch int32, news bool) {
	offset = t.next
	if len(t.open) > 0 {
		offset = t.open[0].offset
	}
	return offset, t.epoch, offset > t.committed
}

// unsettled is how many messages were handed over and are not settled.
func (t *track) unsettled() int { return len(t.open) - t.settled }
