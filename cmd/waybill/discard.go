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

--pending discards messages that are pending, too. A copy that is under way takes effect all
the same, and a key's sequence then has a gap.`

const discardExample = `  waybill discard 01890a5d-ac96-774b-bcce-b302099a8057
  waybill discard --yes 01890a5d-ac96-774b-bcce-b302099a8057
  waybill discard --pending 01890a5d-ac96-774b-bcce-b302099a8057`

type discardFlags struct {
	yes, json, pending bool
	sideFlag
}

func newDiscardCommand(o *options) *cobra.Command {
	var f discardFlags
	cmd := &cobra.Command{
		Use:     "discard ID...",
		Short:   "Give rejected messages up",
		Long:    discardHelp,
		Example: discardExample,
		Args:    takes("ID..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			ofConsumer, err := f.isConsumer()
			if err != nil {
				return err
			}
			if !f.yes && !terminal.Is(cmd.InOrStdin()) {
				return usagef("discard asks first, and standard input is no terminal: use --yes")
			}
			if ofConsumer && f.pending {
				return usagef("--pending is for the producer's side: what a consumer keeps and handles again is not discarded meanwhile")
			}
			if ofConsumer {
				return o.withKeeper(cmd.Context(), "", func(k *store.Keeper) error {
					if !f.yes {
						if err := confirmDiscardKept(cmd, k, ids); err != nil {
							return err
						}
					}
					return eachID(ids, func(id waybill.ID) error { return f.discardKept(cmd.Context(), k, id, cmd.OutOrStdout()) })
				})
			}
			return o.withQueue(cmd.Context(), func(q *store.Queue) error {
				if !f.yes {
					if err := f.confirm(cmd, q, ids); err != nil {
						return err
					}
				}
				return eachID(ids, func(id waybill.ID) error { return f.discard(cmd.Context(), q, id, cmd.OutOrStdout()) })
			})
		},
	}
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&f.pending, "pending", false, "discard pending messages, too")
	f.sideFlag.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON line for each message that is discarded")
	return cmd
}

// confirm shows what would be lost and asks.
func (f *discardFlags) confirm(cmd *cobra.Command, q *store.Queue, ids []waybill.ID) error {
	rows, err := q.Find(cmd.Context(), ids)
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
	return askToDiscard(cmd, len(rejected))
}

type discardedLine struct {
	MessageID waybill.ID `json:"message_id"`
	// Consumers are the named consumers that had answered.
	Consumers []view.Consumer `json:"consumers,omitempty"`
}

// discard deletes one message.
func (f *discardFlags) discard(ctx context.Context, q *store.Queue, id waybill.ID, w io.Writer) error {
	answers, err := q.Answers(ctx, []waybill.ID{id})
	if err != nil {
		return err
	}
	found, err := q.Discard(ctx, id)
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
