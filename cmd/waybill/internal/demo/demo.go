// Package demo is 'waybill demo': an order service and a shipping service, each
// with a database of its own, whose messages arrive whatever happens to them on the
// way, and a verdict that compares the two databases. Call Run; the other processes that
// it starts call RunRole.
//
// The broker, the relay and the shipping service are processes of their own, so
// that they can be killed. The order service and the checker are in the demo's own
// process.
//
// The files: demo.go (options, Run), scenario.go and phases.go (what happens), orders.go
// (the order service) and workload.go (its business), shipping.go (the shipping service),
// role.go and broker.go (the processes), process.go (how they are started and killed),
// checker.go (the verdict), report.go and display.go (what a person sees).
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// Options configure a demo; nil and the zero value hold the defaults.
type Options struct {
	// Messages is how many messages the order service commits. Default 2,000.
	Messages int64
	// Seed decides what goes wrong, and where. Default a random one.
	Seed uint64
	// Dir keeps the files: the databases, the broker's directory and the logs. It may
	// exist and has to be empty. Default a temporary one, removed at the end.
	Dir string
	// Width is the terminal's width in columns, where a person reads at one. Default nil.
	Width func() int
	// Colour allows colours.
	Colour bool
	// Span is how long the order service takes for its messages, at least. Default
	// 16 s.
	Span time.Duration
	// Patience is how long to wait for the last messages while nothing moves any
	// more. Default 30 s.
	Patience time.Duration

	phases []phase // nil: all
}

// DefaultMessages is the default of Options.Messages.
const DefaultMessages = 2000

// withDefaults returns the options with all that was left out, or what is wrong with them.
func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	all := *o
	if o.Messages < 0 {
		return all, fmt.Errorf("%d messages are too few", o.Messages)
	}
	all.Messages = cmp.Or(o.Messages, DefaultMessages)
	all.Span = cmp.Or(o.Span, 16*time.Second)
	all.Patience = cmp.Or(o.Patience, 30*time.Second)
	for all.Seed == 0 {
		var seed [2]byte
		_, _ = rand.Read(seed[:]) // never fails
		all.Seed = uint64(binary.BigEndian.Uint16(seed[:]))
	}
	if all.phases == nil {
		all.phases = allPhases
	}
	return all, nil
}

// Run runs the demo. program makes the command line of a program that calls RunRole, and
// out gets what a person reads. It returns an error where the demo could not be carried to
// its end; a bad verdict is none, but Report.OK.
func Run(ctx context.Context, program func() (*exec.Cmd, error), out io.Writer, o *Options) (*Report, error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := supervisor.MakeDir(options.Dir, "waybill-demo-")
	if err != nil {
		return nil, err
	}
	if options.Dir == "" {
		defer func() { _ = os.RemoveAll(dir) }()
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &scenario{
		o: options, exec: program, dir: dir, began: time.Now(),
		display: &display{out: out, width: options.Width, colour: options.Colour},
	}
	s.setPhase("getting ready")
	defer s.end()
	if err := s.setup(ctx, cancel); err != nil {
		return nil, reason(ctx, err)
	}
	return s.run(ctx, cancel)
}

// ErrInterrupted is what Run returns where the person ended it.
var ErrInterrupted = errors.New("the demo was interrupted")

// reason is why ctx ended, where it did, and else err.
func reason(ctx context.Context, err error) error {
	switch why := context.Cause(ctx); {
	case why == nil:
		return err
	case errors.Is(why, context.Canceled):
		return ErrInterrupted
	default:
		return why
	}
}
