package kafka

import "github.com/waybill-go/waybill/broker"

// assignments are the partitions of a subscription, by their numbers. Its receiver's mu
// guards them.
type assignments map[int32]*assignment

// assignment is what is known of one partition for as long as Kafka assigns it to us. When
// it is assigned again, that is a new assignment, and settling what came by the old one
// does nothing.
type assignment struct {
	// open are the messages that were handed over, in the order of their offsets, from the
	// first one that is not settled.
	open    []*token
	settled int // of those in open
	// next is the offset after the last message that was handed over.
	next int64
	// epoch is the leader epoch of the last message before the position.
	epoch     int32
	committed int64 // the position that Kafka knows
	lost      bool
}

// token is what Settle needs to know of a delivery. Its receiver's mu guards settled.
type token struct {
	receiver   *receiver
	assignment *assignment
	partition  int32
	epoch      int32
	offset     int64
	time       int64 // of the record, in ms since the Unix epoch; 0 or less for none
	settled    bool
}

// newAssignment begins with the first message of an assignment: what is before it was
// committed by whoever had the partition before.
func newAssignment(offset int64, epoch int32) *assignment {
	return &assignment{next: offset, committed: offset, epoch: epoch}
}

// add notes that a message is handed over.
func (a *assignment) add(k *token) {
	a.open = append(a.open, k)
	a.next = k.offset + 1
}

// settle notes that a message is settled. It reports false where that has no effect: the
// message was settled before, or its assignment is lost.
func (a *assignment) settle(k *token) bool {
	if k.settled || a.lost {
		return false
	}
	k.settled = true
	a.settled++
	n := 0
	for n < len(a.open) && a.open[n].settled {
		a.epoch = a.open[n].epoch
		a.open[n] = nil
		n++
	}
	a.settled -= n
	if a.open = a.open[n:]; len(a.open) == 0 {
		a.open = nil
	} else if a.settled > 64 && a.settled > len(a.open)/2 {
		a.compact()
	}
	return true
}

// compact removes from open what is settled, so that a message that is not settled for a
// long time does not make it grow.
func (a *assignment) compact() {
	left := make([]*token, 0, len(a.open)-a.settled)
	for _, k := range a.open {
		if !k.settled {
			left = append(left, k)
		}
	}
	a.open, a.settled = left, 0
}

// position is the offset before which everything is settled. news reports whether Kafka
// does not know it yet.
func (a *assignment) position() (offset int64, epoch int32, news bool) {
	offset = a.next
	if len(a.open) > 0 {
		offset = a.open[0].offset
	}
	return offset, a.epoch, offset > a.committed
}

// unsettled is how many messages were handed over and are not settled.
func (a *assignment) unsettled() int { return len(a.open) - a.settled }

// has reports whether a delivery came by this assignment.
func (a *assignment) has(d broker.Delivery) bool {
	k, ok := d.Token.(*token)
	return ok && k.assignment == a
}
