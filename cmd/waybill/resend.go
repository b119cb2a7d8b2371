package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

const resendHelp = `Send rejected messages again, and print their ids. An id stays as it was, since old
copies may still be under way, and a consumer takes one of them and drops the others.

Consumers remember a rejected message for three days and their retention (waybill relay
--rejected-hold, 72h, counted from when it was rejected; waybill:forgotten is why they
reject an older one). --as-new sends such a message under a new id. Then it takes effect even if
it did before: look first. A state of level latest whose key was forgotten stays
rejected also then: send the key's present state as a new message.

Of named consumers (waybill relay --consumers) those are asked again that have rejected
the message; with --as-new all of them, as if none had confirmed it.

With --side consumer, rejected messages that a consumer keeps are handled again by its
next inbox that runs, within two seconds and in the order in which they were kept.

In place of ids, --all, --destination, --reason and --older-than pick messages; those that
are rejected again meanwhile are not sent twice. --dry-run only prints which.`

const resendExample = `  waybill list --rejected
  waybill resend 01890a5d-ac96-774b-bcce-b302099a8057
  waybill resend --destination orders --reason 'carrier API: 503' --dry-run
  waybill resend --older-than 1h
  waybill resend --side consumer 01890a5d-ac96-774b-bcce-b302099a8057`

type resendFlags struct {
	asNew, json, dryRun bool
	sideFlag
	pick pickFlags
}

func newResendCommand(o *options) *cobra.Command {
	var f resendFlags
	cmd := &cobra.Command{
		Use:     "resend [ID...]",
		Short:   "Send rejected messages again",
		Long:    resendHelp,
		Example: resendExample,
		Args:    f.pick.takesOrPicks,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			if ofConsumer, err := f.isConsumer(); err != nil {
				return err
			} else if ofConsumer {
				return o.withKeeper(ctx, "", func(k *store.Keeper) error {
					resend := func(id waybill.ID) error { return f.resendKept(ctx, k, id, out) }
					if f.dryRun {
						resend = func(id waybill.ID) error { return f.wouldResend(id, isKept(ctx, k, id), out) }
					}
					return f.resendEach(cmd, ids, func(do func(waybill.ID) error) (int, error) { return f.pick.eachKept(ctx, k, do) }, resend)
				})
			}
			return o.withQueue(ctx, func(q *store.Queue) error {
				resend := func(id waybill.ID) error { return f.resend(ctx, q, id, out, cmd.ErrOrStderr()) }
				if f.dryRun {
					resend = func(id waybill.ID) error {
						_, err := f.check(ctx, q, id)
						return f.wouldResend(id, err, out)
					}
				}
				return f.resendEach(cmd, ids, func(do func(waybill.ID) error) (int, error) { return f.pick.each(ctx, q, do) }, resend)
			})
		},
	}
	cmd.Flags().BoolVar(&f.asNew, "as-new", false, "give the messages new ids")
	f.pick.add(cmd)
	cmd.ValidArgsFunction = o.offer(rejectedIDs)
	o.offerFlag(cmd, "destination", destinations)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the ids of what would be sent again, and send nothing")
	f.sideFlag.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print a JSON line for each message that is sent again")
	return cmd
}

// resendEach sends again what the ids name or, where there are none, what each picks. Of what
// was picked, messages that cannot be sent again are counted and left.
func (f *resendFlags) resendEach(cmd *cobra.Command, ids []waybill.ID, each func(do func(waybill.ID) error) (int, error), resend func(waybill.ID) error) error {
	if len(ids) > 0 {
		return eachID(ids, resend)
	}
	left, why := 0, error(nil)
	n, err := each(func(id waybill.ID) error {
		err := resend(id)
		var problem *messageError
		if errors.As(err, &problem) {
			left, why = left+1, err
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case n == 0:
		f.pick.none(cmd.ErrOrStderr())
	case left > 0:
		return fmt.Errorf("%d of %d messages were not sent again, the last one since: %w", left, n, why)
	}
	return nil
}

type resentLine struct {
	MessageID    waybill.ID `json:"message_id"`
	NewMessageID waybill.ID `json:"new_message_id,omitzero"`
	// Consumers are the named consumers that are asked again, where some are not.
	Consumers []string `json:"consumers,omitempty"`
}

// resend sends one message again.
func (f *resendFlags) resend(ctx context.Context, q *store.Queue, id waybill.ID, w, stderr io.Writer) error {
	row, err := f.check(ctx, q, id)
	if err != nil {
		return err
	}
	answers, err := q.Answers(ctx, []waybill.ID{id})
	if err != nil {
		return err
	}
	newID, found, err := q.Resend(ctx, id, f.asNew)
	if err != nil {
		return err
	}
	if !found {
		return notRejected(id)
	}
	if err := printLine(w, f.json, resentLine{id, newID, askedAgain(answers, f.asNew)}, newID.String()); err != nil || f.asNew {
		return err
	}
	return warnOfAge(ctx, q, row, stderr)
}

// rejectedHold is the default of relay.Options.RejectedHold.
const rejectedHold = 72 * time.Hour

// warnOfAge tells of a message that has held no floor any more while it was rejected.
func warnOfAge(ctx context.Context, q *store.Queue, rejected *store.Row, stderr io.Writer) error {
	clock, err := q.Clock(ctx)
	if err != nil {
		return err
	}
	id, from := rejected.MessageID, time.UnixMicro(clock).Add(-rejectedHold)
	if id.Time().Before(from) && time.UnixMicro(rejected.NotBefore).Before(from) {
		fmt.Fprintf(stderr, "Message %s was rejected longer ago than %v, for which consumers remember rejected messages by default. If its consumer rejects it again as waybill:forgotten, it needs 'waybill resend --as-new %s'.\n", id, rejectedHold, id)
	}
	return nil
}

// askedAgain returns the consumers that are asked again of those that have answered.
func askedAgain(answers []store.Answer, asNew bool) (consumers []string) {
	for _, a := range answers {
		if a.Rejected || asNew {
			consumers = append(consumers, a.Consumer)
		}
	}
	return consumers
}

// wouldResend prints what resend would, where nothing is wrong with the message.
func (f *resendFlags) wouldResend(id waybill.ID, err error, w io.Writer) error {
	if err != nil {
		return err
	}
	return printLine(w, f.json, resentLine{MessageID: id}, id.String())
}

// check returns a rejected message, or says why it cannot be sent again: it is not there and rejected, or was rejected
// because its consumer has forgotten what it knew of it.
func (f *resendFlags) check(ctx context.Context, q *store.Queue, id waybill.ID) (*store.Row, error) {
	r, err := rejectedRow(ctx, q, id)
	if err == nil && !f.asNew && strings.Contains(r.LastError, waybill.ReasonForgotten) {
		err = &messageError{fmt.Sprintf("message %s was rejected because its consumer has forgotten what it knew of messages that old, and would be again: see --as-new in 'waybill resend --help'", id)}
	}
	return r, err
}

// rejectedRow returns a rejected message.
func rejectedRow(ctx context.Context, q *store.Queue, id waybill.ID) (*store.Row, error) {
	rows, err := q.Find(ctx, []waybill.ID{id})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || rows[0].Status != store.Rejected {
		return nil, notRejected(id)
	}
	return &rows[0], nil
}

// messageError is why one message cannot be sent again or discarded.
type messageError struct{ text string }

func (e *messageError) Error() string { return e.text }

func notRejected(id waybill.ID) error {
	return &messageError{fmt.Sprintf("there is no rejected message %s; see 'waybill list --rejected'", id)}
}

// eachID does something with each message. A problem with one does not keep the others
// from it; any other error does.
func eachID(ids []waybill.ID, do func(id waybill.ID) error) error {
	var problems []error
	for _, id := range ids {
		err := do(id)
		if err == nil {
			continue
		}
		problems = append(problems, err)
		var problem *messageError
		if !errors.As(err, &problem) {
			break
		}
	}
	return errors.Join(problems...)
}
