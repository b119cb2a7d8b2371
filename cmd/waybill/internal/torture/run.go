package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// run is one torture under way.
type run struct {
	o      Options
	exec   func() (*exec.Cmd, error)
	out    io.Writer
	name   string // of this run, in names of tables and queues
	prefix string
	dir    string
	chosen selection
	named  bool // the fault "absent" was chosen by its name
	began  time.Time

	started bool // there are processes, and what they make at the broker
	fail    context.CancelCauseFunc

	producerDB, consumerDB       *database
	identity                     string // of the run's outbox
	dbClock                      clock  // of the producers' database
	producers, relays, consumers []*process
	rogue, broker                *process // broker: nil where it is a server
	proxies                      []*proxy
	brokerAddr                   string
	redelivery                   time.Duration // of the broker; see broker.Capabilities

	sending sync.Mutex // held while active faults are changed and sent; taken before mu

	mu       sync.Mutex
	active   activeFaults
	events   []event
	log      io.Writer          // gets the events
	injected map[string]int     // by fault
	missing  map[string]string  // faults that cannot be, with the reason
	hookErr  error              // of the user's commands
	absent   *absence           // nil for none
	visits   map[string]visitor // foreign messages that may take effect

	gaveUp string  // what still waited when patience was at its end
	undone *undone // guarded by mu

	heldUp    int64         // states that a consumer did not get while another one was away
	keptUp    int64         // effects of a consumer while another one was away
	healTime  time.Duration // from the last fault until everything was at work again
	drainTime time.Duration // from then until the outbox was empty
}

// process is one of the run's.
type process = supervisor.Process[command, stats]

// execute is the whole run.
func (r *run) execute(ctx context.Context) (report *Report, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r.fail = fail
	defer func() {
		// A process that has failed is why everything else did.
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
			if errors.Is(cause, context.Canceled) {
				err = errors.Join(ErrInterrupted, r.hookErr)
			}
		}
		err = errors.Join(err, r.end(ctx, report, err == nil))
	}()
	log, err := os.OpenFile(filepath.Join(r.dir, "nemesis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.log = log
	if err := r.openDatabases(ctx); err != nil {
		return nil, err
	}
	if err := r.setup(ctx); err != nil {
		return nil, err
	}
	r.printHeader()
	r.started = true
	if err := r.startAll(ctx); err != nil {
		return nil, err
	}
	r.injectFaults(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := r.recovery(ctx); err != nil {
		return nil, err
	}
	if r.dbClock.ended, err = r.readClock(ctx); err != nil {
		return nil, err
	}
	result, err := r.check(ctx)
	if err != nil {
		return nil, err
	}
	if report, err = r.report(ctx, result); err != nil {
		return nil, err
	}
	r.printResult(report)
	return report, nil
}

// end kills what is left, removes what the run has made, and closes what it has opened, in
// whatever state the run is. Where it went well, what cannot be removed is told a person,
// and is no error: that would hide the verdict.
func (r *run) end(ctx context.Context, report *Report, well bool) error {
	r.killAll()
	left, err := r.cleanUp(ctx, report)
	if err != nil && well {
		left, err = strings.TrimSpace(err.Error()+"\n"+left), nil
	}
	if left != "" {
		r.say("%s", left)
	}
	if report != nil {
		report.LeftBehind = left
	}
	r.close()
	return err
}

// processes are those that are always there, the broker first.
func (r *run) processes() []*process {
	var all []*process
	if r.broker != nil {
		all = append(all, r.broker)
	}
	return slices.Concat(all, r.producers, r.relays, r.consumers)
}

// startAll starts the processes that are down, but for a consumer that is to be away, lets
// those that are paused go on, and waits until all work: of the relays one leads.
func (r *run) startAll(ctx context.Context) error {
	return r.start(ctx, slices.DeleteFunc(r.processes(), r.isAbsent))
}

// start is startAll for some processes.
func (r *run) start(ctx context.Context, all []*process) error {
	leads := func() bool { return slices.ContainsFunc(r.relays, isReady) }
	for _, p := range all {
		p.Resume()
		if err := p.Start(); err != nil {
			return err
		}
	}
	patience := max(r.o.Patience, startPatience)
	for _, p := range all {
		ready := func() bool { return isReady(p) }
		if slices.Contains(r.relays, p) {
			ready = leads
		}
		ok, err := supervisor.Within(ctx, patience, ready)
		if err == nil && !ok {
			err = fmt.Errorf("the %s is not at work after %v\n%s", p.Name, patience, p.Tail())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isReady(p *process) bool {
	now, there := p.Current()
	return there && now.Ready
}

// killAll ends the processes that are left.
func (r *run) killAll() {
	all := r.processes()
	if r.rogue != nil {
		all = append(all, r.rogue)
	}
	for _, p := range all {
		p.Kill()
	}
}

// close closes the proxies and the databases.
func (r *run) close() {
	for _, p := range r.proxies {
		p.Close()
	}
	for _, d := range []*database{r.producerDB, r.consumerDB} {
		if d != nil {
			_ = d.Close()
		}
	}
}

// total sums up the stats of some processes.
func total(processes []*process) (sum stats) {
	for _, p := range processes {
		sum = sum.Add(p.Stats())
	}
	return sum
}

func (r *run) count(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injected[fault]++
}

// injectedSoFar is a copy of the counts.
func (r *run) injectedSoFar() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.injected)
}

// event is something that the nemesis did.
type event struct {
	at   time.Time
	text string
}

// note notes what happens, for a history.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := event{time.Now(), fmt.Sprintf(format, args...)}
	r.events = append(r.events, e)
	if r.log != nil {
		fmt.Fprintf(r.log, "%s %s\n", r.clock(e.at), e.text)
	}
}
