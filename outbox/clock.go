package outbox

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// askClock is how long the database's clock is believed to go as this process does.
const askClock = time.Minute

// databaseClock is the time by the database's clock. The ids that Send mints are of that
// time, since consumers judge by ids what they may have forgotten, and a host's clock may
// be days off. The database is asked now and then, in a transaction that sends anyway; in
// between, the time that passes here is added, which no step of the host's clock changes.
type databaseClock struct {
	mu    sync.Mutex
	there time.Time // the database's
	here  time.Time // when that was; the zero time: it is not known
	asked time.Time // when somebody began to ask
}

// read asks the database. Where it cannot be asked, because a transaction of the caller's
// own kind has no queries, the host's clock has to do.
func (c *databaseClock) read(ctx context.Context, tx Tx, dialect store.Dialect) {
	before := time.Now()
	crash.Point("outbox.clock.before")
	us, err := store.ReadClock(ctx, tx, dialect)
	crash.Point("outbox.clock.after")
	if err != nil {
		return // where the database is to blame, the messages fail as well, and say it better
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.here = before.Add(time.Since(before) / 2)
	c.there = time.UnixMicro(us)
}

// isDue reports whether to ask now. While one asks, the others go on with what is known.
func (c *databaseClock) isDue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.here.IsZero() && time.Since(c.asked) < askClock {
		return false
	}
	c.asked = time.Now()
	return true
}

// doubt has the next message ask again.
func (c *databaseClock) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Time{}
}

// now is the time by the database's clock, and whether that is known.
func (c *databaseClock) now() (now time.Time, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here.IsZero() {
		return time.Now(), false
	}
	return c.there.Add(time.Since(c.here)), true
}

// lastMinted is the time, in µs, of the id that this process has minted last.
var lastMinted atomic.Int64

// mint makes an id of a time. The ids of one process are strictly increasing, except where
// the clock that they are minted by has gone back by more than a minute.
func mint(now time.Time) waybill.ID {
	for {
		last, next := lastMinted.Load(), now.UnixMicro()
		if last >= next && last-next < time.Minute.Microseconds() {
			next = last + 1
		}
		if lastMinted.CompareAndSwap(last, next) {
			return waybill.NewIDAt(time.UnixMicro(next))
		}
	}
}
