package upgrade

import (
	"bytes"
	"database/sql"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/freeport"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// fleet is the processes of one service's outbox and its consumers, their database and
// their broker.
type fleet struct {
	t        *testing.T
	kind     kind
	programs [2]string
	source   string
	db       *sql.DB
	broker   string
	members  map[string][]*process
}

// process is one of a fleet.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when it has ended
	log   bytes.Buffer  // what it wrote; to be read after ended
}

func newFleet(t *testing.T, k kind, programs [2]string) *fleet {
	t.Helper()
	f := &fleet{t: t, kind: k, programs: programs, source: k.source(t), members: map[string][]*process{}}
	var err error
	if f.db, err = sql.Open(k.driver, f.source); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.db.Close() })
	f.makeTables()
	port, err := freeport.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listen := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	server, err := embedded.New(filepath.Join(t.TempDir(), "broker"), &embedded.Options{Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown() })
	f.broker = "nats://" + listen
	t.Cleanup(func() {
		for _, of := range f.members {
			for _, p := range of {
				p.end(true)
				if t.Failed() {
					t.Logf("%s wrote:\n%s", p.name, tail(p.log.String()))
				}
			}
		}
	})
	return f
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 6000
	if len(text) > most {
		return "… " + text[len(text)-most:]
	}
	return text
}

// begin starts a process.
func (f *fleet) begin(r revision, role string) *process {
	f.t.Helper()
	p := &process{name: []string{"old ", "new "}[r] + role, ended: make(chan struct{})}
	p.cmd = exec.Command(f.programs[r], "-role", role, "-driver", f.kind.driver, "-db", f.source, "-broker", f.broker)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // cmd.ProcessState tells
	}()
	return p
}

// start adds a process.
func (f *fleet) start(r revision, role string) {
	f.t.Helper()
	f.members[role] = append(f.members[role], f.begin(r, role))
}

// replace starts a process in the place of one that has ended.
func (f *fleet) replace(r revision, role string, n int) {
	f.t.Helper()
	f.members[role][n] = f.begin(r, role)
}

// stop has a process end in good order.
func (f *fleet) stop(role string, n int) {
	f.t.Helper()
	p := f.members[role][n]
	p.end(false)
	if !p.cmd.ProcessState.Success() {
		f.t.Fatalf("the %s ended with %v:\n%s", p.name, p.cmd.ProcessState, tail(p.log.String()))
	}
}

// kill kills a process, which must have been there until then.
func (f *fleet) kill(role string, n int) {
	f.t.Helper()
	f.isUp(f.members[role][n])
	f.members[role][n].end(true)
}

func (f *fleet) isUp(p *process) {
	f.t.Helper()
	select {
	case <-p.ended:
		f.t.Fatalf("the %s has ended by itself (%v):\n%s", p.name, p.cmd.ProcessState, tail(p.log.String()))
	default:
	}
}

// end ends a process and waits for that.
func (p *process) end(kill bool) {
	if kill {
		_ = p.cmd.Process.Kill()
	}
	_ = p.stdin.Close()
	<-p.ended
}

// run runs a process that ends by itself.
func (f *fleet) run(r revision, role string) {
	f.t.Helper()
	p := f.begin(r, role)
	<-p.ended
	if !p.cmd.ProcessState.Success() {
		f.t.Fatalf("the %s ended with %v:\n%s", p.name, p.cmd.ProcessState, tail(p.log.String()))
	}
}

// refuses wants a process not to begin, and to say that it is too old.
func (f *fleet) refuses(r revision, role string) {
	f.t.Helper()
	p := f.begin(r, role)
	<-p.ended
	if want := "newer than this program's"; p.cmd.ProcessState.Success() || !strings.Contains(p.log.String(), want) {
		f.t.Errorf("the %s ended with %v, want one that says %q:\n%s", p.name, p.cmd.ProcessState, want, tail(p.log.String()))
	}
}

const (
	// stride is how many messages and effects make progress.
	stride = 150
	// stuck is how long nothing at all may happen. Processes that were killed hold leases
	// and messages for some seconds.
	stuck = time.Minute
)

// progresses waits until as much has been made, and done since, as makes progress.
func (f *fleet) progresses(when string) {
	f.t.Helper()
	made, effects := f.made()+stride, f.effects()+stride
	f.waits(when+": more is made and done", func() (bool, int) {
		m, e := f.made(), f.effects()
		return m >= made && e >= effects, m + e
	})
}

// finishes stops the producers and waits until every message is settled.
func (f *fleet) finishes() {
	f.t.Helper()
	for n := range f.members["producer"] {
		f.stop("producer", n)
	}
	delete(f.members, "producer")
	f.waits("the outbox is empty", func() (bool, int) {
		left := f.count(`SELECT count(*) FROM qmessage`)
		return left == 0, left
	})
	for _, role := range roles {
		for n := range f.members[role] {
			f.stop(role, n)
		}
	}
}

func (f *fleet) made() int    { return f.count(`SELECT count(*) FROM made`) }
func (f *fleet) effects() int { return f.count(`SELECT count(*) FROM effects`) }

// waits gives up when nothing changes any more.
func (f *fleet) waits(what string, done func() (isDone bool, state int)) {
	f.t.Helper()
	state := 0
	patience.Within(f.t, stuck, what, func() (isDone bool) {
		for _, of := range f.members {
			for _, p := range of {
				f.isUp(p)
			}
		}
		isDone, state = done()
		return isDone
	}, func() any { return state })
	f.t.Log(what)
}
