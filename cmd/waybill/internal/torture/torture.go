// Package torture is 'waybill torture': it breaks a database and broker set-up on
// purpose, and judges what came of it.
//
// Producers commit and roll back money transfers and changes of orders; relays move
// their messages, and consumers make their own accounts and orders of them. All are
// processes of their own, which are killed and paused; what is between them and the
// servers is cut, delayed and black-holed; messages and receipts are lost, doubled and
// reordered; servers are killed and lose their data. Then all is mended, and the
// outbox has to empty itself. The verdict compares the producers' journals and the two
// databases; no counter of Waybill's goes into it.
//
// The files: torture.go (options, Run), run.go (the run's parts), storm.go and
// faults.go (what breaks), ballast.go (a full disk), wire.go (the network), calm.go
// (what comes after the storm), judge.go and history.go (the verdict), tidy.go (what is
// removed), report.go (what a person sees), books.go (the business's tables),
// journal.go (what producers know), and the processes: part.go, producer.go,
// consumer.go, embedded.go.
package torture

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/store"
)

// Options are what a run is asked for.
type Options struct {
	// ProducerDB and ConsumerDB are the addresses of the databases, Broker that of the
	// broker. By default both databases are SQLite files, or the consumer's database is
	// the producer's, and the broker is the embedded one in a process of its own.
	ProducerDB, ConsumerDB, Broker string
	// Schema is put before all tables' names, with its dot; "" for none.
	Schema string
	// Duration is how long things are broken. Default 1 min. Mending and emptying the
	// outbox take longer.
	Duration time.Duration
	// Seed decides what breaks when. Default a random one.
	Seed uint64
	// Faults are the faults' names; see Faults. Default all.
	Faults []string
	// Every is how long the storm rests on average before its next blow, which may
	// hit what is broken already. At least 10 ms; default 325 ms. The less breaks, the
	// more messages go through.
	Every time.Duration
	// Pace is how long a producer's clerk rests between two transactions. Default 5 ms.
	Pace time.Duration
	// Transfers is the greatest number of money transfers in a transaction, each of
	// which is a message: at most MaxTransfers. Default 2.
	Transfers int
	// BrokerKill, BrokerStart and BrokerWipe are shell commands that kill the broker's
	// server, start it and wait until it serves, and delete its data while it is down.
	BrokerKill, BrokerStart, BrokerWipe string
	// BrokerFill and BrokerFree are shell commands that fill the disk of the broker's
	// server, and that make room again and wait until it serves.
	BrokerFill, BrokerFree string
	// DBKill and DBStart are shell commands that kill the databases' server, and start
	// it and wait until it serves.
	DBKill, DBStart string
	// Dir keeps the files: logs, journals, and the embedded defaults' data. It may exist
	// and has to be empty. Default a temporary one, removed at the end unless the verdict
	// is bad.
	Dir string
	// Keep leaves the run's tables in the databases, and its queues at the broker.
	Keep bool
	// Patience is how long to wait, once all is mended, while nothing moves any more.
	// Default 1 min.
	Patience time.Duration
	// Command makes the command that runs Part in a process of its own.
	Command func() (*exec.Cmd, error)
	// Out gets what a person reads.
	Out io.Writer
	// Live says that Out is a terminal.
	Live bool
}

// The bounds of Options.
const (
	MinEvery     = 10 * time.Millisecond
	MaxTransfers = 1000 // of which each locks two accounts, in a transaction of 20 s at most
)

// Run runs a torture. It returns an error where it could not be carried to its end; a
// bad verdict is none, but Report.OK.
func Run(ctx context.Context, o Options) (*Report, error) {
	chosen, err := choose(o.Faults)
	if err != nil {
		return nil, err
	}
	if o.Every != 0 && o.Every < MinEvery || o.Transfers < 0 || o.Transfers > MaxTransfers {
		return nil, fmt.Errorf("a fault every %v, and %d transfers in a transaction: at least %v, and at most %d", o.Every, o.Transfers, MinEvery, MaxTransfers)
	}
	if o.Duration == 0 {
		o.Duration = time.Minute
	}
	if o.Every == 0 {
		o.Every = 325 * time.Millisecond
	}
	if o.Transfers == 0 {
		o.Transfers = 2
	}
	if o.Pace == 0 {
		o.Pace = 5 * time.Millisecond
	}
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	for o.Seed == 0 {
		var seed [4]byte
		_, _ = rand.Read(seed[:]) // never fails
		o.Seed = uint64(binary.BigEndian.Uint32(seed[:]) % math.MaxInt32)
	}
	dir, err := supervisor.Directory(o.Dir, "waybill-torture-")
	if err != nil {
		return nil, err
	}
	r := &run{o: o, dir: dir, name: strings.ToLower(rand.Text()[:6]), chosen: chosen, began: time.Now(), missing: map[string]string{}}
	report, err := r.perform(ctx)
	if o.Dir == "" && err == nil && report.OK {
		return report, os.RemoveAll(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (seed %d; logs in %s)", err, o.Seed, dir)
	}
	report.Dir = dir
	return report, nil
}

// ErrInterrupted is what Run returns where the person ended it.
var ErrInterrupted = errors.New("the run was interrupted")

// perform is the whole run.
func (r *run) perform(ctx context.Context) (report *Report, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r.fail = fail
	defer func() {
		// A part that has failed is why everything else did.
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
			if errors.Is(cause, context.Canceled) {
				err = errors.Join(ErrInterrupted, r.trouble)
			}
		}
		r.kill()
		left, problem := r.tidy(ctx, report)
		if problem != nil && err == nil { // which is for a person, and no reason to hide the verdict
			left, problem = strings.TrimSpace(problem.Error()+"\n"+left), nil
		}
		err = errors.Join(err, problem)
		if left != "" {
			r.say("%s", left)
		}
		if report != nil {
			report.LeftBehind = left
		}
		r.end()
	}()
	log, err := os.OpenFile(filepath.Join(r.dir, "storm.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.log = log
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	r.prologue()
	r.started = true
	if err := r.startAll(ctx); err != nil {
		return nil, err
	}
	r.rage(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := r.calm(ctx); err != nil {
		return nil, err
	}
	verdict, err := r.judge(ctx)
	if err != nil {
		return nil, err
	}
	if report, err = r.report(ctx, verdict); err != nil {
		return nil, err
	}
	r.epilogue(report)
	return report, nil
}

// open opens the databases, makes the tables, and readies the parts.
func (r *run) open(ctx context.Context) error {
	schema := strings.TrimSuffix(r.o.Schema, ".")
	if schema != "" {
		schema += "."
	}
	r.prefix = schema + "torture_" + r.name + "_"
	if r.o.ProducerDB == "" {
		r.o.ProducerDB = "sqlite:" + filepath.Join(r.dir, "producer.db")
		if r.o.ConsumerDB == "" {
			r.o.ConsumerDB = "sqlite:" + filepath.Join(r.dir, "consumer.db")
		}
	}
	if r.o.ConsumerDB == "" {
		r.o.ConsumerDB = r.o.ProducerDB
	}
	var err error
	if r.producerBooks, err = openBooks(r.o.ProducerDB, r.prefix); err != nil {
		return err
	}
	if r.consumerBooks, err = openBooks(r.o.ConsumerDB, r.prefix); err != nil {
		return err
	}
	if err := r.producerBooks.make(ctx, store.Producer, r.topic()); err != nil {
		return err
	}
	if err := r.consumerBooks.make(ctx, store.Consumer, r.topic()); err != nil {
		return err
	}
	return r.cast(ctx)
}
