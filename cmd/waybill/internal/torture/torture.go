// Package torture is 'waybill torture': it breaks a database and broker set-up on
// purpose, and judges what came of it. Call Run; the other processes that it starts call
// RunRole.
//
// Producers commit and roll back money transfers and changes of orders; relays move
// their messages, and consumers make their own accounts and orders of them. All are
// processes of their own. The nemesis kills and pauses them; cuts, delays and black-holes
// what is between them and the servers; loses, repeats and reorders messages and receipts;
// and kills servers and takes their data. Then everything is healed, and the outbox has to
// empty itself. The checker compares the producers' journals and the two databases; no
// counter of Waybill's goes into the verdict.
//
// The files: torture.go (options, Run), run.go (a run from its beginning to its end),
// setup.go (its processes and proxies), faults.go (what can be broken), nemesis.go (what
// breaks it), active.go (network and handler faults), server.go (servers that are killed),
// filler.go (full disks), absent.go (a consumer that is away), restore.go (databases put back to a copy), foreign.go (foreign
// messages), proxy.go (the network),
// recovery.go (healing, and what comes after it), checker.go, kinds.go, stamps.go, undone.go, seen.go and history.go (the verdict), report.go (what a person sees),
// cleanup.go (what is removed), tables.go (the application's tables), journal.go (what
// producers know), and the processes: role.go, producer.go, worker.go, workload.go,
// parcel.go, relay.go, consumer.go, embedded.go; and those that know Waybill by its protocol
// alone: errand.go, abroad.go.
package torture

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// Options configure a run; nil and the zero value hold the defaults.
type Options struct {
	// ProducerDB and ConsumerDB are the addresses of the databases, Broker that of the
	// broker. By default both databases are SQLite files, or the consumers' database is
	// the producers', and the broker is the embedded one in a process of its own.
	ProducerDB, ConsumerDB, Broker string
	// Schema is put before all tables' names; its dot may be left out. Default none.
	Schema string
	// Duration is how long faults are injected. Default 1 min. Healing and emptying the
	// outbox come after it.
	Duration time.Duration
	// Seed decides what breaks when. Default a random one.
	Seed uint64
	// Faults are the faults' names; see Faults. Default all.
	Faults []string
	// Every is how long the nemesis rests on average before its next fault, which may
	// hit what is broken already. At least MinEvery; default 325 ms. The less breaks, the
	// more messages go through.
	Every time.Duration
	// Pace is how long a producer's worker rests between two transactions. Default 5 ms.
	Pace time.Duration
	// Transfers is the greatest number of money transfers in a transaction, each of
	// which is a message: at most MaxTransfers. Default 2.
	Transfers int
	// BrokerKill, BrokerStart and BrokerWipe are shell commands that kill the broker's
	// server, start it and wait until it serves, and delete its data while it is down.
	// Default none: then a server is not killed.
	BrokerKill, BrokerStart, BrokerWipe string
	// BrokerFill and BrokerFree are shell commands that fill the disk of the broker's
	// server, and that make room again and wait until it serves. Default none.
	BrokerFill, BrokerFree string
	// DBKill and DBStart are shell commands that kill the databases' server, and start
	// it and wait until it serves. Default none.
	DBKill, DBStart string
	// DBFill and DBFree are shell commands that fill the databases' disk, and that make room
	// again and wait until they serve. Default none: SQLite's files may then not grow.
	DBFill, DBFree string
	// Dir keeps the files: logs, journals, and the embedded defaults' data. It may exist
	// and has to be empty. Default a temporary one, removed at the end unless the verdict
	// is bad.
	Dir string
	// Keep leaves the run's tables in the databases, and its queues at the broker.
	Keep bool
	// Patience is how long to wait, once everything is healed, while nothing moves any
	// more. Default 1 min.
	Patience time.Duration
	// Live says that what a person reads is written to a terminal.
	Live bool
}

// The bounds of Options.
const (
	MinEvery     = 10 * time.Millisecond
	MaxTransfers = 1000 // of which each locks two accounts, in a transaction of 20 s at most
)

// withDefaults returns the options with all that was left out, or what is wrong with them.
func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	all := *o
	if o.Every != 0 && o.Every < MinEvery || o.Transfers < 0 || o.Transfers > MaxTransfers {
		return all, fmt.Errorf("a fault every %v, and %d transfers in a transaction: at least %v, and at most %d", o.Every, o.Transfers, MinEvery, MaxTransfers)
	}
	all.Duration = cmp.Or(o.Duration, time.Minute)
	all.Every = cmp.Or(o.Every, 325*time.Millisecond)
	all.Transfers = cmp.Or(o.Transfers, 2)
	all.Pace = cmp.Or(o.Pace, 5*time.Millisecond)
	all.Patience = cmp.Or(o.Patience, time.Minute)
	for all.Seed == 0 {
		var seed [4]byte
		_, _ = rand.Read(seed[:]) // never fails
		all.Seed = uint64(binary.BigEndian.Uint32(seed[:]) % math.MaxInt32)
	}
	return all, nil
}

// Run runs a torture. program makes the command line of a program that calls RunRole, and
// out gets what a person reads. It returns an error where the torture could not be carried
// to its end; a bad verdict is none, but Report.OK.
func Run(ctx context.Context, program func() (*exec.Cmd, error), out io.Writer, o *Options) (*Report, error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	chosen, err := choose(options.Faults)
	if err != nil {
		return nil, err
	}
	dir, err := supervisor.MakeDir(options.Dir, "waybill-torture-")
	if err != nil {
		return nil, err
	}
	r := &run{
		o: options, exec: program, out: out, dir: dir, chosen: chosen,
		name: strings.ToLower(rand.Text()[:6]), began: time.Now(), missing: map[string]string{}, visits: map[string]visitor{}, undone: newUndone(),
		named: slices.Contains(options.Faults, "absent"),
	}
	report, err := r.execute(ctx)
	if options.Dir == "" && err == nil && report.OK {
		return report, os.RemoveAll(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (seed %d; logs in %s)", err, options.Seed, dir)
	}
	report.Dir = dir
	return report, nil
}

// ErrInterrupted is what Run returns where the person ended it.
var ErrInterrupted = errors.New("the run was interrupted")
