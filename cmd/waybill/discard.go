package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const discardHelp = `Give rejected messages up: they are deleted from the outbox for good, or with --side
consumer from where a consumer keeps them. It shows them,
with the named consumers that have confirmed or rejected them, and asks first; --yes
answers for a script.

In place of ids, --all, --destination, --reason and --older-than pick messages, as they are
when it begins: what is rejected later stays. It shows the first twenty of them, and how many
there are. --dry-run only prints which.

--pending discards messages that are pending, too. A copy that is under way takes effect all
the same, and a key's sequence then has a gap.`

const discardExample = `  waybill discard 01890a5d-ac96-774b-bcce-b302099a8057
  waybill discard --destination orders --reason 'carrier API: 503' --dry-run
  waybill discard --yes 01890a5d-ac96-774b-bcce-b302099a8057
  waybill discard --pending 01890a5d-ac96-774b-bcce-b302099a8057`

type discardFlags struct {
	yes, json, pending, dryRun bool
	sideFlag
	pick pickFlags
}

func newDiscardCommand(o *options) *cobra.Command {
	var f discardFlags
	cmd := &cobra.Command{
		Use:     "discard [ID...]",
		Short:   "Give rejected messages up",
		Long:    discardHelp,
		Example: discardExample,
		Args:    f.pick.takesOrPicks,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			ofConsumer, err := f.isConsumer()
			if err != nil {
				return err
			}
			switch {
			case !f.yes && !f.dryRun && !terminal.Is(cmd.InOrStdin()):
				return usagef("discard asks first, and standard input is no terminal: use --yes")
			case ofConsumer && f.pending:
				return usagef("--pending is for the producer's side: what a consumer keeps and handles again is not discarded meanwhile")
			case len(ids) == 0 && f.pending:
				return usagef("--pending needs ids: --all, --destination, --reason and --older-than pick rejected messages")
			}
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			if ofConsumer {
				return o.withKeeper(ctx, "", func(k *store.Keeper) error {
					return f.run(cmd, ids, &discarder{
						each:    func(do func(waybill.ID) error) (int, error) { return f.pick.eachKept(ctx, k, do) },
						check:   func(id waybill.ID) error { return isKept(ctx, k, id) },
						confirm: func(ids []waybill.ID) error { return f.confirmKept(cmd, k, ids) },
						discard: func(id waybill.ID) error { return f.discardKept(ctx, k, id, out) },
					})
				})
			}
			return o.withQueue(ctx, func(q *store.Queue) error {
				return f.run(cmd, ids, &discarder{
					each:    func(do func(waybill.ID) error) (int, error) { return f.pick.each(ctx, q, do) },
					check:   func(id waybill.ID) error { return f.check(ctx, q, id) },
					confirm: func(ids []waybill.ID) error { return f.confirm(cmd, q, ids) },
					discard: func(id waybill.ID) error { return f.discard(ctx, q, id, out) },
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&f.pending, "pending", false, "discard pending messages, too")
	f.pick.add(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the ids of what would be discarded, and discard nothing")
	f.sideFlag.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON line for each message that is discarded")
	cmd.ValidArgsFunction = o.offer(rejectedIDs)
	o.offerFlag(cmd, "destination", destinations)
	return cmd
}

// discarder is what differs between the sides.
type discarder struct {
	each    func(do func(waybill.ID) error) (int, error) // of what the flags pick
	check   func(id waybill.ID) error                    // why it cannot be discarded
	confirm func(ids []waybill.ID) error
	discard func(id waybill.ID) error
}

// run discards what the ids name or, where there are none, what the flags pick. All that is
// picked is known before anybody is asked.
func (f *discardFlags) run(cmd *cobra.Command, ids []waybill.ID, d *discarder) error {
	if len(ids) == 0 {
		_, err := d.each(func(id waybill.ID) error {
			ids = append(ids, id)
			return nil
		})
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			f.pick.none(cmd.ErrOrStderr())
			return nil
		}
	}
	if f.dryRun {
		return eachID(ids, func(id waybill.ID) error {
			if err := d.check(id); err != nil {
				return err
			}
			return printLine(cmd.OutOrStdout(), f.json, discardedLine{MessageID: id}, id.String())
		})
	}
	if !f.yes {
		if err := d.confirm(ids); err != nil {
			return err
		}
	}
	return eachID(ids, d.discard)
}

// check says why a message cannot be discarded.
func (f *discardFlags) check(ctx context.Context, q *store.Queue, id waybill.ID) error {
	rows, err := q.Find(ctx, []waybill.ID{id})
	if err == nil && (len(rows) == 0 || rows[0].Status != store.Rejected && !f.pending) {
		err = f.notFound(id)
	}
	return err
}

// discardShown is the most messages that are shown where they were picked.
const discardShown = 20

// shown are those that are shown: all that are named, and the first of those that are picked.
func (f *discardFlags) shown(cmd *cobra.Command, ids []waybill.ID) []waybill.ID {
	if f.pick.isGiven(cmd) {
		return ids[:min(len(ids), discardShown)]
	}
	return ids
}

// ask asks whether to discard; found are how many of those that are shown there are.
func (f *discardFlags) ask(cmd *cobra.Command, ids []waybill.ID, found int) error {
	if !f.pick.isGiven(cmd) {
		return askToDiscard(cmd, found)
	}
	if more := len(ids) - discardShown; more > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "and %d more.\n", more)
	}
	return askToDiscard(cmd, len(ids))
}

// confirm shows what would be lost and asks.
func (f *discardFlags) confirm(cmd *cobra.Command, q *store.Queue, ids []waybill.ID) error {
	rows, err := q.Find(cmd.Context(), f.shown(cmd, ids))
	if err != nil {
		return err
	}
	answers, err := answersOn(cmd.Context(), q, rows)
	if err != nil {
		return err
	}
	var rejected []view.Summary
	for i := range rows {
		if r := &rows[i]; r.Status == store.Rejected || f.pending {
			rejected = append(rejected, view.Summarize(r, view.Consumers(answers[r.MessageID])...))
		}
	}
	if len(rejected) == 0 {
		return f.notFound(ids[0])
	}
	clock, err := q.Clock(cmd.Context())
	if err != nil {
		return err
	}
	if err := view.List(cmd.ErrOrStderr(), rejected, time.UnixMicro(clock), terminal.Is(cmd.ErrOrStderr())); err != nil {
		return err
	}
	return f.ask(cmd, ids, len(rejected))
}

type discardedLine struct {
	MessageID waybill.ID `json:"message_id"`
	// Consumers are the named consumers that had answered.
	Consumers []view.Consumer `json:"consumers,omitempty"`
}

// discard deletes one message; one that was picked, only if it is as it was then.
func (f *discardFlags) discard(ctx context.Context, q *store.Queue, id waybill.ID, w io.Writer) error {
	answers, err := q.Answers(ctx, []waybill.ID{id})
	if err != nil {
		return err
	}
	var found bool
	if picked := f.pick.seen[id]; len(picked) > 0 {
		found, err = q.DiscardSeen(ctx, id, picked[0].state)
	} else {
		found, err = q.Discard(ctx, id)
	}
	if err == nil && !found && f.pending {
		var deleted int64
		deleted, err = q.DeleteAnswered(ctx, []waybill.ID{id})
		found = deleted > 0
	}
	if err != nil {
		return err
	}
	if !found {
		return f.notFound(id)
	}
	return printLine(w, f.json, discardedLine{id, view.Consumers(answers)}, id.String())
}

// notFound says that there is no such message to discard.
func (f *discardFlags) notFound(id waybill.ID) error {
	if f.pending {
		return &messageError{fmt.Sprintf("there is no message %s; see 'waybill list'", id)}
	}
	return &messageError{fmt.Sprintf("there is no rejected message %s; see 'waybill list --rejected' (--pending discards pending ones)", id)}
}
