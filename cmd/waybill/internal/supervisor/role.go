package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Role is what a process of a scenario does.
type Role[C, S any] interface {
	// Run works until ctx ends, and finishes what is under way.
	Run(ctx context.Context) error
	// Stats says what has been done so far. It is called while Run runs, and after it.
	Stats() S
	// Handle is called with each command but the first, while Run runs. It reports
	// whether the role is to end.
	Handle(command C) (stop bool)
}

// StatsEvery is how often a role tells its stats. What happens between the last time and
// a kill is not counted.
const StatsEvery = 25 * time.Millisecond

var errOrphaned = errors.New("the run that this process belongs to has ended")

// Main is the main function of a process that a Process starts. It reads commands from
// in, the first of which open makes a role of, and writes stats to out. It returns when
// the role is told to stop, when in ends, or when something goes wrong. scenario names, for
// a person, the command that starts such processes.
func Main[C any, S comparable](ctx context.Context, in io.Reader, out io.Writer, scenario string, open func(C) (Role[C, S], error)) error {
	// Ctrl-C goes to all processes of a terminal; the scenario itself ends its own.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	commands := json.NewDecoder(in)
	var first C
	if err := commands.Decode(&first); err != nil {
		return fmt.Errorf("this command is a part of '%s' and is started by it: %w", scenario, err)
	}
	role, err := open(first)
	if err != nil {
		return err
	}
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		for {
			var command C
			if err := commands.Decode(&command); err != nil {
				return
			}
			if role.Handle(command) {
				stop()
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- role.Run(ctx) }()
	return tell(role, json.NewEncoder(out), ended, orphaned)
}

// tell writes a role's stats whenever they have changed, until the role or the scenario
// has ended.
func tell[C any, S comparable](role Role[C, S], out *json.Encoder, ended <-chan error, orphaned <-chan struct{}) error {
	ticker := time.NewTicker(StatsEvery)
	defer ticker.Stop()
	var last S
	for {
		select {
		case err := <-ended:
			return errors.Join(err, out.Encode(role.Stats()))
		case <-orphaned:
			return errOrphaned
		case <-ticker.C:
			if now := role.Stats(); now != last {
				if err := out.Encode(now); err != nil {
					return err
				}
				last = now
			}
		}
	}
}
