package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
)

// worker makes a producer's transactions, one after the other.
type worker struct {
	*producer
	number int
	dice   *rand.Rand
}

// How a worker's transactions end: of so many, one
const (
	rollbackOneIn = 6                      // is rolled back
	lingerOneIn   = 40                     // stays open for a while after Send,
	maxLinger     = 700 * time.Millisecond // at most for so long
)

// transactionTime is how long a transaction may take, most of which may be its turn to write.
const transactionTime = 20 * time.Second

func newWorker(p *producer, number int) *worker {
	return &worker{p, number, rand.New(rand.NewPCG(p.cmd.Seed, uint64(number)))}
}

// run makes transactions until ctx ends.
func (w *worker) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if w.backlog.Load() > maxBacklog {
			backoff.Sleep(ctx, 20*time.Millisecond)
			continue
		}
		token := fmt.Sprintf("%s-%d-%d", w.cmd.Name, w.number, n)
		if err := w.transact(ctx, token); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "transaction failed", slog.String("token", token), slog.Any("error", err))
			backoff.Sleep(ctx, 100*time.Millisecond)
		}
		backoff.Sleep(ctx, w.cmd.Pace)
	}
}

// transact runs one transaction to whatever end the dice say, and writes that down.
func (w *worker) transact(ctx context.Context, token string) error {
	// Not ctx: the end of the process must not leave outcomes unknown. A database that
	// is away or hangs is given up.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTime)
	defer cancel()
	rollback := w.oneIn(rollbackOneIn)
	tx, err := w.db.BeginTx(limited, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := w.change(limited, tx, token); err != nil {
		return errors.Join(err, w.rollBack(tx, token))
	}
	if w.oneIn(lingerOneIn) {
		backoff.Sleep(ctx, time.Duration(w.dice.Int64N(int64(maxLinger))))
	}
	if rollback {
		return w.rollBack(tx, token)
	}
	if err := w.journal.write(token, begun); err != nil {
		return err
	}
	if w.dieInCommit.Load() {
		go die(time.Duration(w.dice.Int64N(int64(time.Millisecond))))
	}
	if err := tx.Commit(); err != nil {
		w.uncertains.Add(1)
		return errors.Join(err, w.journal.write(token, unknown))
	}
	w.commits.Add(1)
	return w.journal.write(token, committed)
}

// oneIn is true in one of n cases.
func (w *worker) oneIn(n int) bool { return w.dice.IntN(n) == 0 }

// rollBack ends a transaction that was not committed. Whether the database has heard
// of it does not matter: it never got a COMMIT.
func (w *worker) rollBack(tx *sql.Tx, token string) error {
	_ = tx.Rollback()
	w.rollbacks.Add(1)
	return w.journal.write(token, rolledBack)
}

// die ends this process without notice a moment from now.
func die(in time.Duration) {
	time.Sleep(in)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
}
