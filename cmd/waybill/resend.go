package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/line"
)

const resendHelp = `Send rejected messages again, and print their ids. An id stays as it was, since old
copies may still be under way, and a consumer takes one of them and drops the others.
A message gets a new id where its consumer has rejected it because it has forgotten
what it knew of messages that old.`

const resendExample = `  waybill list --rejected
  waybill resend 01890a5d-ac96-774b-bcce-b302099a8057`

func newResendCommand(o *options) *cobra.Command {
	var json bool
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
				newID, found, err := q.Resend(cmd.Context(), id)
				if err != nil {
					return errors.Join(append(problems, err)...)
				}
				if !found {
					problems = append(problems, notRejected(id))
					continue
				}
				text := []byte(newID.String() + "\n")
				if json {
					text, err = line.Marshal(resentLine{id, newID})
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
	cmd.Flags().BoolVar(&json, "json", false, "print a JSON line for each message that is sent again")
	return cmd
}

type resentLine struct {
	MessageID    waybill.ID `json:"message_id"`
	NewMessageID waybill.ID `json:"new_message_id"`
}

func notRejected(id waybill.ID) error {
	return fmt.Errorf("there is no rejected message %s; see 'waybill list --rejected'", id)
}
