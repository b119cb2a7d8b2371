package store

import (
	"context"
	"time"

	"github.com/waybill-go/waybill/internal/fault/crash"
)

// Lease is what the database says about a relay's lease.
type Lease struct {
	Holder  string // "" where there is none
	Left    int64  // µs until it ends; 0 or less once ended
	Cursor  int64  // rows up to this id were read by the last holder
	Present bool   // there is a lease row at all
}

// AcquireLease tries to make holder the relay's leader for ttl and returns the
// lease as it is then: holder has got it where the lease names it.
func (q *Queue) AcquireLease(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error) {
	for _, s := range q.dialect.AcquireLease(q.names, name, holder, ttl.Microseconds()) {
		crash.Point("store.lease.before")
		err := q.leaseExec(ctx, "acquire the relay's lease", s)
		crash.Point("store.lease.after")
		if err != nil {
			return Lease{}, err
		}
	}
	return q.Lease(ctx, name)
}

// RenewLease extends holder's lease to ttl from now and stores its cursor; false says
// that holder has lost it.
func (q *Queue) RenewLease(ctx context.Context, name, holder string, ttl time.Duration, cursor int64) (bool, error) {
	if err := q.leaseExec(ctx, "renew the relay's lease", q.dialect.RenewLease(q.names, name, holder, ttl.Microseconds(), cursor)); err != nil {
		return false, err
	}
	lease, err := q.Lease(ctx, name)
	return lease.Holder == holder && lease.Left > 0, err
}

// ReleaseLease gives holder's lease back and stores its cursor; a lease that is
// another's stays as it is.
func (q *Queue) ReleaseLease(ctx context.Context, name, holder string, cursor int64) error {
	return q.leaseExec(ctx, "release the relay's lease", q.dialect.ReleaseLease(q.names, name, holder, cursor))
}

// Lease reads the relay's lease; the zero Lease where nobody has ever taken it.
func (q *Queue) Lease(ctx context.Context, name string) (Lease, error) {
	var l Lease
	found, err := q.rowIn(ctx, q.sessions.leases, "read the relay's lease", q.dialect.Lease(q.names, name), &l.Holder, &l.Left, &l.Cursor)
	l.Present = found
	return l, err
}

// HoldsLease reports whether a lease can be read and names holder, be its time over or not.
func HoldsLease(ctx context.Context, q *Queue, name, holder string) bool {
	lease, err := q.Lease(ctx, name)
	return err == nil && lease.Holder == holder
}

// leaseExec runs a statement that waits for none of the others: a relay keeps its lease
// whatever locks hold those up.
func (q *Queue) leaseExec(ctx context.Context, doing string, s Statement) error {
	_, err := q.sessions.exec(ctx, q.sessions.leases, nil, s)
	return wrap(q.dialect, Producer, doing, err)
}
