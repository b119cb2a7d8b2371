package store

import (
	"context"
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Forgettable tells what PruneBy would do at now, and changes nothing: the producers' horizons
// as they would be, and how many records lie below the highest of them. Of these the ones of
// producers with a lower horizon, or with none, would stay, so that at most so many go. It
// counts no more than most (above 0).
func (l *Ledger) Forgettable(ctx context.Context, now time.Time, retention Retention, most int) (horizons []Horizon, atMost int64, err error) {
	if most <= 0 {
		return nil, 0, errors.New("waybill: count records: the most that are counted must be above 0")
	}
	known, err := l.Horizons(ctx)
	if err != nil {
		return nil, 0, err
	}
	waiting, err := l.lowestWaiting(ctx)
	if err != nil {
		return nil, 0, err
	}
	var highest waybill.ID
	for _, h := range known {
		if horizon := horizonOf(h, known, waiting, now, retention); horizon.Compare(h.ID) > 0 {
			h.ID = horizon
		}
		if h.ID.Compare(highest) > 0 {
			highest = h.ID
		}
		horizons = append(horizons, h)
	}
	read, _, err := l.onceWindow(ctx, waybill.ID{}, highest, most)
	return horizons, int64(len(read)), wrap(l.dialect, Consumer, "count records", err)
}

// IdleKeys counts the keys that ForgetKeys would forget now, and forgets none. It reads them
// in pages of limit (above 0).
func (q *Queue) IdleKeys(ctx context.Context, idle time.Duration, limit int) (int64, error) {
	before, busy, err := q.busyKeys(ctx, idle, limit)
	if err != nil {
		return 0, err
	}
	var n int64
	err = q.eachIdleKeys(ctx, before, limit, busy, func(idle []Key) error {
		n += int64(len(idle))
		return nil
	})
	return n, wrap(q.dialect, Producer, "count idle keys", err)
}
