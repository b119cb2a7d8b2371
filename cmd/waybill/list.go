package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const listHelp = `List the messages in the outbox: the rejected ones, which wait for a person, and then
the pending ones, each oldest first. A message that is confirmed is gone.`

const listExample = `  waybill list
  waybill list --rejected --destination orders
  waybill list --rejected --limit 0 --json | jq -r .message_id | xargs waybill resend`

type listFlags struct {
	rejected, pending, json bool
	destination             string
	limit                   int
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
			d, q, err := o.queueOf(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			return f.list(cmd.Context(), q, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.rejected, "rejected", false, "rejected messages only")
	flags.BoolVar(&f.pending, "pending", false, "pending messages only")
	flags.StringVar(&f.destination, "destination", "", "messages to this `destination` only")
	flags.IntVar(&f.limit, "limit", 100, "list at most `N` messages; 0 for all")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each message")
	cmd.MarkFlagsMutuallyExclusive("rejected", "pending")
	return cmd
}

// listPage is how many rows are read at a time. They come with their bodies.
const listPage = 50

func (f *listFlags) list(ctx context.Context, q *store.Queue, stdout, stderr io.Writer) error {
	if err := q.CheckSchema(ctx); err != nil {
		return err
	}
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
	var table []store.Row
	listed, more := 0, false
	for _, status := range statuses {
		after := int64(0)
		for !more {
			rows, err := q.List(ctx, f.destination, status, after, listPage)
			if err != nil {
				return err
			}
			for i := range rows {
				if more = f.limit > 0 && listed == f.limit; more {
					break
				}
				after = rows[i].ID
				listed++
				if !f.json {
					rows[i].Body = nil
					table = append(table, rows[i])
					continue
				}
				text, err := jsonl.Marshal(view.Summarize(&rows[i]))
				if err != nil {
					return err
				}
				if _, err := stdout.Write(text); err != nil {
					return err
				}
			}
			if len(rows) < listPage {
				break
			}
		}
	}
	if len(table) > 0 {
		if err := view.List(stdout, table, time.UnixMicro(clock)); err != nil {
			return err
		}
	}
	switch {
	case more:
		fmt.Fprintf(stderr, "There are more than these %d; --limit lists them.\n", listed)
	case listed == 0:
		fmt.Fprintln(stderr, "No such messages.")
	}
	return nil
}
