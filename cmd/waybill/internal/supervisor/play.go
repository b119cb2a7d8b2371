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

// Player is one part at work.
type Player[E, W any] interface {
	// Run works until ctx ends, and finishes what is under way.
	Run(ctx context.Context) error
	// Tell says what has been done so far. It is called while Run runs, and after it.
	Tell() W
	// Hear is called with each further errand, while Run runs. It reports whether the
	// part is to end.
	Hear(errand E) (stop bool)
}

// TellEvery is how often a part tells what it has done. What happens between the
// last word and a kill is not counted.
const TellEvery = 25 * time.Millisecond

var errOrphaned = errors.New("the play that this is a part of has ended")

// Play is the main function of a process that a Member starts. It returns when the
// part is told to stop, when in ends, or when something goes wrong. play names, for a
// person, what starts such processes.
func Play[E any, W comparable](ctx context.Context, in io.Reader, out io.Writer, play string, open func(E) (Player[E, W], error)) error {
	// Ctrl-C goes to all processes of a terminal; the play itself sees to its parts.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	errands := json.NewDecoder(in)
	var first E
	if err := errands.Decode(&first); err != nil {
		return fmt.Errorf("this command is a part of '%s' and is started by it: %w", play, err)
	}
	p, err := open(first)
	if err != nil {
		return err
	}
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		for {
			var errand E
			if err := errands.Decode(&errand); err != nil {
				return
			}
			if p.Hear(errand) {
				stop()
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()

	words := json.NewEncoder(out)
	ticker := time.NewTicker(TellEvery)
	defer ticker.Stop()
	var last W
	for {
		select {
		case err := <-ended:
			return errors.Join(err, words.Encode(p.Tell()))
		case <-orphaned:
			return errOrphaned
		case <-ticker.C:
			if now := p.Tell(); now != last {
				if err := words.Encode(now); err != nil {
					return err
				}
				last = now
			}
		}
	}
}
