package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
)

const showHelp = `Show a message that is still in the outbox, with its headers and body.`

const showExample = `  waybill show 01890a5d-ac96-774b-bcce-b302099a8057
  waybill show --json 01890a5d-ac96-774b-bcce-b302099a8057 | jq -r .body`

func newShowCommand(o *options) *cobra.Command {
	var json bool
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
			d, q, err := o.queueOf(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			rows, err := q.Find(cmd.Context(), ids)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				return fmt.Errorf("there is no message %s in the outbox: it was confirmed, discarded or sent again under another id, or never was here", ids[0])
			}
			whole := view.Open(&rows[0])
			if json {
				text, err := jsonl.Marshal(whole)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			clock, err := q.Clock(cmd.Context())
			if err != nil {
				return err
			}
			return whole.Write(cmd.OutOrStdout(), time.UnixMicro(clock))
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print a JSON object on one line")
	return cmd
}
