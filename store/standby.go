package store

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// A relay that stands by says so by a lease of its own, in the first of a few places that is
// free: so their rows are few, however many relays have come and gone.
const (
	standbyPrefix = "standby." // begins the names of these leases in qrelay
	maxStandbys   = 8
)

// NoteStandby notes that a relay stands by, which holds for ttl. Of more than eight at a time
// some are not noted.
func (q *Queue) NoteStandby(ctx context.Context, holder string, ttl time.Duration) error {
	for place := range maxStandbys {
		lease, err := q.AcquireLease(ctx, standbyPrefix+strconv.Itoa(place+1), holder, ttl)
		if err != nil || lease.Holder == holder {
			return err
		}
	}
	return nil
}

// Standbys returns the relays of which NoteStandby still holds. One that has taken the relay's
// lease since is among them.
func (q *Queue) Standbys(ctx context.Context) (holders []string, err error) {
	for place := range maxStandbys {
		lease, err := q.Lease(ctx, standbyPrefix+strconv.Itoa(place+1))
		if err != nil {
			return nil, err
		}
		if !lease.Present {
			break // nor were those after it ever taken
		}
		if lease.Holder != "" && lease.Left > 0 && !slices.Contains(holders, lease.Holder) {
			holders = append(holders, lease.Holder)
		}
	}
	return holders, nil
}
