package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const listHelp = `List the messages in the outbox: the rejected ones, which wait for a person, and then
the pending ones, each oldest first. A message that is confirmed is gone.

Where a destination names its consumers (waybill relay --consumers), the list says who
has confirmed a message and who has rejected it, as soon as one of them is late, rejects
it or asks for it again. Which others must confirm it, the relay alone knows.

--side consumer lists the messages that a consumer keeps in its own database
(n_rejected), because nobody else does: those of producers that ask for no receipts, or
that have no usable id. Rejected ones wait for a person, pending ones are to be handled
again.`

const listExample = `  waybill list
  waybill list --rejected --destination orders
  waybill list --consumer audit                 # what others have answered and audit has not confirmed
  waybill list --side consumer                  # what consumers keep
  waybill list --rejected --limit 0 --json | jq -r .message_id | xargs -r waybill resend`

type listFlags struct {
	rejected, pending, json bool
	destination, consumer   string
	limit                   int
	sideFlag
}

func newListCommand(o *options) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the messages that are pending or rejected",
		Long:    listHelp,
		Example: listExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.limit < 0 {
				return usagef("--limit is %d, below 0", f.limit)
			}
			if ofConsumer, err := f.isConsumer(); err != nil {
				return err
			} else if ofConsumer {
				return o.withKeeper(cmd.Context(), f.consumer, func(k *store.Keeper) error {
					return f.listKept(cmd.Context(), k, cmd.OutOrStdout(), cmd.ErrOrStderr())
				})
			}
			return o.withQueue(cmd.Context(), func(q *store.Queue) error {
				return f.list(cmd.Context(), q, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.rejected, "rejected", false, "rejected messages only")
	flags.BoolVar(&f.pending, "pending", false, "pending messages only")
	flags.StringVar(&f.destination, "destination", "", "messages to this `destination` only")
	flags.StringVar(&f.consumer, "consumer", "", "messages only that other named consumers have answered, and this `consumer` waits for or has rejected; with --side consumer, what it keeps")
	f.sideFlag.add(cmd)
	flags.IntVar(&f.limit, "limit", 100, "list at most `N` messages; 0 for all")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each message")
	cmd.MarkFlagsMutuallyExclusive("rejected", "pending")
	o.offerFlag(cmd, "destination", destinations)
	o.offerFlag(cmd, "consumer", consumers)
	return cmd
}

func (f *listFlags) list(ctx context.Context, q *store.Queue, stdout, stderr io.Writer) error {
	clock, err := q.Clock(ctx)
	if err != nil {
		return err
	}
	statuses := []int{store.Rejected, store.Pending}
	switch {
	case f.rejected:
		statuses = statuses[:1]
	case f.pending:
		statuses = statuses[1:]
	}
	l := &lister{listFlags: f, out: stdout}
	for _, status := range statuses {
		if err := l.read(ctx, q, status); err != nil {
			return err
		}
	}
	if len(l.table) > 0 {
		if err := view.List(stdout, l.table, time.UnixMicro(clock), terminal.Is(stdout)); err != nil {
			return err
		}
	}
	if !f.rejected {
		if err := tellPauses(ctx, store.Producer, q, f.destination, time.UnixMicro(clock), stderr); err != nil {
			return err
		}
	}
	switch {
	case l.more:
		fmt.Fprintf(stderr, "There are more than these %d; --limit lists them.\n", l.listed)
	case l.listed == 0:
		fmt.Fprintln(stderr, "No such messages.")
	}
	return nil
}

// lister prints rows as JSON lines, or gathers them for a table, up to the limit.
type lister struct {
	*listFlags
	out    io.Writer
	table  []view.Summary
	listed int
	more   bool // than the limit
}

// listPage is how many rows are read at a time. They come with their bodies.
const listPage = 50

// read lists the rows of one status.
func (l *lister) read(ctx context.Context, q *store.Queue, status int) error {
	after := int64(0)
	for !l.more {
		rows, err := q.List(ctx, l.destination, status, after, listPage)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		answers, err := answersOn(ctx, q, rows)
		if err != nil {
			return err
		}
		for i := range rows {
			r := &rows[i]
			after = r.ID
			consumers, wanted := l.consumersOf(answers[r.MessageID])
			if !wanted {
				continue
			}
			if l.more = l.limit > 0 && l.listed == l.limit; l.more {
				return nil
			}
			if err := l.add(view.Summarize(r, consumers...)); err != nil {
				return err
			}
		}
		if len(rows) < listPage {
			return nil
		}
	}
	return nil
}

// consumersOf is what is known of a message's consumers, and whether it is to be listed.
func (l *lister) consumersOf(answers []store.Answer) (consumers []view.Consumer, wanted bool) {
	if l.consumer == "" {
		return view.Consumers(answers), true
	}
	isIts := func(a store.Answer) bool { return a.Consumer == l.consumer }
	i := slices.IndexFunc(answers, isIts)
	return view.Consumers(answers, l.consumer), len(answers) > 0 && (i < 0 || answers[i].Rejected)
}

// answersOn reads what named consumers have answered, by message.
func answersOn(ctx context.Context, q *store.Queue, rows []store.Row) (map[waybill.ID][]store.Answer, error) {
	ids := make([]waybill.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].MessageID
	}
	all, err := q.Answers(ctx, ids)
	answers := map[waybill.ID][]store.Answer{}
	for _, a := range all {
		answers[a.MessageID] = append(answers[a.MessageID], a)
	}
	return answers, err
}

func (l *lister) add(s view.Summary) error {
	l.listed++
	if l.json {
		return printJSON(l.out, s)
	}
	l.table = append(l.table, s)
	return nil
}
