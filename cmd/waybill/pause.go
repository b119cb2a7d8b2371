package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const pauseHelp = `Pause a destination. At the producer's side its relays send nothing to it: messages wait
in the outbox, and receipts for what is under way are still taken. At the consumer's side
its inboxes take nothing from it: what they have received and not begun is held, without
being acknowledged, and the rest stays with the broker. Nothing is lost, and all that waits
goes on in its order after 'waybill resume'.

The pause is kept in the database, and every relay or inbox of it obeys within two seconds,
also one that is started later. 'waybill status' shows who has paused what, and why. It ends
by itself with --for or --until, by the database's clock.

--side is needed where the database has both sides' tables. --consumer pauses one consumer
group of those that share the tables. Where the destination is paused already, this takes
the place of that.`

const pauseExample = `  waybill pause orders --side producer --reason "the carrier's API is down" --for 30m
  waybill pause orders --consumer shipping                                  # at the consumer's side
  waybill pause prices --topic --side producer --until 2099-03-01T06:00:00Z`

const resumeHelp = `End the pause of a destination, whoever or whatever began it: relays or inboxes go on
within two seconds. At the consumer's side it ends those of all consumer groups, or with
--consumer that of one, which goes on waiting as long as all of them are paused together.`

const resumeExample = `  waybill resume orders --side producer
  waybill resume orders --side consumer`

// pausedFlags say which destination of which side is meant.
type pausedFlags struct {
	side, consumer string
	topic, json    bool
}

func (f *pausedFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.topic, "topic", false, "DESTINATION is a topic")
	flags.StringVar(&f.side, "side", "", "`side` whose programs are meant: producer (relays) or consumer (inboxes); needed where the database has the tables of both")
	flags.StringVar(&f.consumer, "consumer", "", "this `consumer` group alone (default: all that use the tables)")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each pause")
	complete(cmd, "side", string(store.Producer), string(store.Consumer))
}

// paused is one side's pauses.
type paused interface {
	Pauses(ctx context.Context) ([]store.Pause, error)
	Pause(ctx context.Context, p store.Pause, length time.Duration) error
}

// pausedSide is the side that a command is about, and its tables.
type pausedSide struct {
	side   store.Side
	paused // the queue or the keeper
	queue  *store.Queue
	keeper *store.Keeper
	now    time.Time // by the database's clock
}

// with opens the database and gives do the side that is meant.
func (f *pausedFlags) with(ctx context.Context, o *options, destination string, do func(s *pausedSide) error) error {
	if err := waybill.CheckDestination(destination); err != nil {
		return usagef("DESTINATION %.80q %w", destination, err)
	}
	if f.consumer != "" {
		if err := waybill.CheckConsumer(f.consumer); err != nil {
			return usagef("--consumer %.80q %w", f.consumer, err)
		}
		if f.side == "" {
			f.side = string(store.Consumer)
		}
		if f.side == string(store.Producer) {
			return usagef("--consumer goes with --side consumer: to a relay all consumers of %.80q are one destination", destination)
		}
	}
	if side := store.Side(f.side); side != "" && side != store.Producer && side != store.Consumer {
		return usagef("--side is %.40q; use producer or consumer", f.side)
	}
	d, err := o.openAnswering(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	s := &pausedSide{side: store.Side(f.side)}
	if s.side == "" {
		if s.side, err = d.onlySide(ctx); err != nil {
			return err
		}
	}
	if s.queue, err = d.queue(); err != nil {
		return err
	}
	defer s.queue.CloseIdle()
	if s.keeper, err = store.NewKeeper(d.DB, d.dialect, d.prefix, ""); err != nil {
		return err
	}
	defer s.keeper.CloseIdle()
	s.paused = s.queue
	check := s.queue.CheckSchema
	if s.side == store.Consumer {
		s.paused, check = s.keeper, s.keeper.CheckSchema
	}
	if err := check(ctx); err != nil {
		return err
	}
	clock, err := s.queue.Clock(ctx)
	if err != nil {
		return err
	}
	s.now = time.UnixMicro(clock)
	return do(s)
}

// onlySide is the side whose tables a database has.
func (d *database) onlySide(ctx context.Context) (store.Side, error) {
	names, err := store.NewNames(d.prefix)
	if err != nil {
		return "", err
	}
	var found []store.Side
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		v, err := store.ReadVersion(ctx, d.DB, d.dialect, names, side)
		if err != nil && !errors.Is(err, waybill.ErrSchema) {
			return "", err
		}
		if v.Have > 0 {
			found = append(found, side)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return store.Producer, nil // whose check says what is missing
	}
	return "", usagef("this database has the tables of both sides: use --side producer (relays send nothing) or --side consumer (inboxes take nothing)")
}

// of returns the pauses of a destination.
func (s *pausedSide) of(ctx context.Context, destination string, topic bool, consumer string) ([]view.Pause, error) {
	all, err := s.Pauses(ctx)
	var some []store.Pause
	for _, p := range all {
		if p.Destination == destination && p.Topic == topic && (consumer == "" || p.Consumer == consumer) {
			some = append(some, p)
		}
	}
	return view.Pauses(s.side, some), err
}

type pauseFlags struct {
	pausedFlags
	length            time.Duration
	until, reason, by string
}

func newPauseCommand(o *options) *cobra.Command {
	var f pauseFlags
	cmd := &cobra.Command{
		Use:     "pause DESTINATION",
		Short:   "Have relays send nothing, or inboxes take nothing, of a destination",
		Long:    pauseHelp,
		Example: pauseExample,
		Args:    takes("DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPositive(cmd, "for"); err != nil {
				return err
			}
			p := store.Pause{Destination: args[0], Topic: f.topic, Consumer: f.consumer, By: cmp.Or(f.by, whoami()), Reason: f.reason}
			if f.until != "" {
				var err error
				if p.Until, err = time.Parse(time.RFC3339, f.until); err != nil {
					return usagef("--until %.40q is no time such as 2026-03-01T06:00:00Z", f.until)
				}
			}
			return f.with(cmd.Context(), o, args[0], func(s *pausedSide) error { return f.pause(cmd.Context(), s, p, cmd.OutOrStdout()) })
		},
	}
	f.add(cmd)
	cmd.ValidArgsFunction = o.offer(destinations)
	o.offerFlag(cmd, "consumer", consumers)
	flags := cmd.Flags()
	flags.DurationVar(&f.length, "for", 0, "how long (default: until it is resumed)")
	flags.StringVar(&f.until, "until", "", "until this `time`, such as 2026-03-01T06:00:00Z")
	flags.StringVar(&f.reason, "reason", "", "why, for whoever looks at it: `text`")
	flags.StringVar(&f.by, "by", "", "who pauses it (default: `you@host`)")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	return cmd
}

func (f *pauseFlags) pause(ctx context.Context, s *pausedSide, p store.Pause, w io.Writer) error {
	if !p.Until.IsZero() && !p.Until.After(s.now) {
		return usagef("--until %s is over, by the database's clock", f.until)
	}
	if err := s.Pause(ctx, p, f.length); err != nil {
		return err
	}
	all, err := s.of(ctx, p.Destination, p.Topic, f.consumer)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].Consumer != p.Consumer {
			continue
		}
		if err := printLine(w, f.json, all[i], all[i].Text(all[i].Since)); err != nil {
			return err
		}
	}
	return nil
}

// whoami is who runs the command, as far as the system knows.
func whoami() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return cmp.Or(name, "somebody")
	}
	return cmp.Or(name, "somebody") + "@" + host
}

func newResumeCommand(o *options) *cobra.Command {
	var f pausedFlags
	cmd := &cobra.Command{
		Use:     "resume DESTINATION",
		Short:   "Have relays or inboxes go on with a destination that is paused",
		Long:    resumeHelp,
		Example: resumeExample,
		Args:    takes("DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), o, args[0], func(s *pausedSide) error {
				return f.resume(cmd.Context(), s, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	f.add(cmd)
	cmd.ValidArgsFunction = o.offer(pausedDestinations)
	o.offerFlag(cmd, "consumer", consumers)
	return cmd
}

func (f *pausedFlags) resume(ctx context.Context, s *pausedSide, destination string, stdout, stderr io.Writer) error {
	all, err := s.of(ctx, destination, f.topic, f.consumer)
	if err != nil {
		return err
	}
	resume := func() (bool, error) { return s.queue.Resume(ctx, destination, f.topic) }
	if s.side == store.Consumer {
		resume = func() (bool, error) { return s.keeper.Resume(ctx, f.consumer, destination, f.topic) }
	}
	found, err := resume()
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%.80q is not paused at the %s's side: 'waybill status' shows what is, and --topic stands for a topic", destination, s.side)
	}
	for i := range all {
		if err := printLine(stdout, f.json, all[i], "resumed: "+all[i].Text(s.now)); err != nil {
			return err
		}
	}
	left, err := s.of(ctx, destination, f.topic, "")
	for i := range left {
		if f.consumer != "" && left[i].Consumer == "" {
			fmt.Fprintf(stderr, "It goes on waiting: %s.\n", left[i].Text(s.now))
		}
	}
	return err
}

// tellPauses tells of pauses for which messages that were listed may wait.
func tellPauses(ctx context.Context, side store.Side, p paused, destination string, now time.Time, w io.Writer) error {
	all, err := p.Pauses(ctx)
	for _, v := range view.Pauses(side, all) {
		if destination == "" || v.Destination == destination {
			fmt.Fprintf(w, "Paused: %s.\n", v.Text(now))
		}
	}
	return err
}
