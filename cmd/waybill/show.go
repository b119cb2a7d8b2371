package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const showHelp = `Show a message that is still in the outbox, with its headers and body, and which of its
named consumers are known to have confirmed or rejected it. With --side consumer, a
message that consumers keep, once for each of its deliveries that is kept.`

const showExample = `  waybill show 01890a5d-ac96-774b-bcce-b302099a8057
  waybill show --side consumer 01890a5d-ac96-774b-bcce-b302099a8057
  waybill show --json 01890a5d-ac96-774b-bcce-b302099a8057 | jq -r .body`

func newShowCommand(o *options) *cobra.Command {
	var asJSON bool
	var waiting []string
	var side sideFlag
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one message whole",
		Long:    showHelp,
		Example: showExample,
		Args:    takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			if ofConsumer, err := side.isConsumer(); err != nil {
				return err
			} else if ofConsumer {
				return o.withKeeper(cmd.Context(), "", func(k *store.Keeper) error {
					return showKept(cmd.Context(), k, ids[0], asJSON, cmd.OutOrStdout())
				})
			}
			return o.withQueue(cmd.Context(), func(q *store.Queue) error {
				return show(cmd.Context(), q, ids[0], waiting, asJSON, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringSliceVar(&waiting, "consumer", nil, "`names` of consumers that are to confirm it: those that have not are shown as waiting")
	side.add(cmd)
	cmd.ValidArgsFunction = o.offer(rejectedIDs)
	o.offerFlag(cmd, "consumer", consumers)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object on one line")
	return cmd
}

func show(ctx context.Context, q *store.Queue, id waybill.ID, waiting []string, asJSON bool, w io.Writer) error {
	rows, err := q.Find(ctx, []waybill.ID{id})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("there is no message %s in the outbox: it was confirmed, discarded or sent again under another id, or never was here", id)
	}
	answers, err := q.Answers(ctx, []waybill.ID{id})
	if err != nil {
		return err
	}
	whole := view.Open(&rows[0], view.Consumers(answers, waiting...)...)
	if asJSON {
		return printJSON(w, whole)
	}
	clock, err := q.Clock(ctx)
	if err != nil {
		return err
	}
	return whole.Write(w, time.UnixMicro(clock))
}
