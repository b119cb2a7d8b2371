package supervisor_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor/supervisortest"
)

func TestMain(m *testing.M) {
	os.Exit(supervisortest.Main(m, func(ctx context.Context, in io.Reader, out, _ io.Writer) error {
		return supervisor.Main(ctx, in, out, "a test", func(first order) (supervisor.Role[order, done], error) {
			return &finisher{steps: first.Steps}, nil
		})
	}))
}

// order is what a finisher is told: first how many steps it has to do before it ends.
type order struct{ Steps int }

// done is what a finisher has done.
type done struct{ Steps int64 }

func (d done) Add(later done) done { return done{d.Steps + later.Steps} }

// finisher is a role that, once it is told to stop, has steps to finish; below 0 it never
// ends, and does nothing.
type finisher struct {
	steps int
	done  atomic.Int64
}

func (f *finisher) Run(ctx context.Context) error {
	<-ctx.Done()
	if f.steps < 0 {
		select {}
	}
	for range f.steps {
		<-time.After(step) // the step's work
		f.done.Add(1)
	}
	return nil
}

func (f *finisher) Stats() done       { return done{f.done.Load()} }
func (f *finisher) Handle(order) bool { return true }

const (
	step     = 50 * time.Millisecond
	patience = 40 * step // for which a busy machine runs everybody
)

func start(t *testing.T, name string, steps int) *supervisor.Process[order, done] {
	t.Helper()
	p := &supervisor.Process[order, done]{
		Name: name, Exec: supervisortest.Exec, LogPath: filepath.Join(t.TempDir(), "log"),
		First: func(uint64) order { return order{steps} }, Failed: func(err error) { t.Error(err) },
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	return p
}

func TestAProcessThatIsStillFinishingIsNotKilled(t *testing.T) {
	const steps = 3 * int(patience/step) / 2
	busy, quick := start(t, "busy", steps), start(t, "quick", 1)
	if err := supervisor.StopAll(patience, order{}, busy, quick); err != nil {
		t.Fatal(err)
	}
	if n := busy.Stats().Steps; n != int64(steps) {
		t.Errorf("got %d steps, want all %d", n, steps)
	}
}

func TestAProcessThatDoesNotEndSaysWhatItWasDoing(t *testing.T) {
	p := start(t, "sleeper", -1)
	err := p.Stop(patience, order{})
	if err == nil || !strings.Contains(err.Error(), "the sleeper did not stop") || !strings.Contains(err.Error(), p.LogPath) {
		t.Errorf("got %v, want an error that names the process and its log", err)
	}
	log, _ := os.ReadFile(p.LogPath)
	if !strings.Contains(string(log), "finisher") {
		t.Errorf("the log has no goroutines:\n%s", log)
	}
}
