package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
	"github.com/waybill-go/waybill/store"
)

const resendHelp = `Send rejected messages again, and print their ids. An id stays as it was, since old
copies may still be under way, and a consumer takes one of them and drops the others.

A message that its consumer has rejected because it has forgotten what it knew of
messages that old (waybill:forgotten) would be rejected again. --as-new sends such a
message under a new id. Then it takes effect even if it did before: look first.`

const resendExample = `  waybill list --rejected
  waybill resend 01890a5d-ac96-774b-bcce-b302099a8057`

func newResendCommand(o *options) *cobra.Command {
	var json, asNew bool
	cmd := &cobra.Command{
		Use:     "resend ID...",
		Short:   "Send rejected messages again",
		Long:    resendHelp,
		Example: resendExample,
		Args:    takes("ID..."),
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
			var problems []error
			for _, id := range ids {
				if !asNew {
					forgotten, err := isForgotten(cmd.Context(), q, id)
					if err != nil {
						return errors.Join(append(problems, err)...)
					}
					if forgotten {
						problems = append(problems, fmt.Errorf("message %s was rejected because its consumer has forgotten what it knew of messages that old, and would be again: see --as-new in 'waybill resend --help'", id))
						continue
					}
				}
				newID, found, err := q.Resend(cmd.Context(), id, asNew)
				if err != nil {
					return errors.Join(append(problems, err)...)
				}
				if !found {
					problems = append(problems, notRejected(id))
					continue
				}
				text := []byte(newID.String() + "\n")
				if json {
					text, err = jsonl.Marshal(resentLine{id, newID})
					if err != nil {
						return err
					}
				}
				if _, err := cmd.OutOrStdout().Write(text); err != nil {
					return err
				}
			}
			return errors.Join(problems...)
		},
	}
	cmd.Flags().BoolVar(&asNew, "as-new", false, "give the messages new ids")
	cmd.Flags().BoolVar(&json, "json", false, "print a JSON line for each message that is sent again")
	return cmd
}

// isForgotten says whether a message was rejected because its consumer has forgotten
// what it knew of it.
func isForgotten(ctx context.Context, q *store.Queue, id waybill.ID) (bool, error) {
	rows, err := q.Find(ctx, []waybill.ID{id})
	return len(rows) == 1 && rows[0].Status == store.Rejected && strings.Contains(rows[0].LastError, waybill.ReasonForgotten), err
}

type resentLine struct {
	MessageID    waybill.ID `json:"message_id"`
	NewMessageID waybill.ID `json:"new_message_id"`
}

func notRejected(id waybill.ID) error {
	return fmt.Errorf("there is no rejected message %s; see 'waybill list --rejected'", id)
}
