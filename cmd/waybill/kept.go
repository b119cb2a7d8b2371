package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

// sideFlag says whose messages a command is about.
type sideFlag struct{ side string }

// add adds the flag.
func (f *sideFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.side, "side", string(store.Producer), "`side` whose messages these are: producer (its outbox) or consumer (what it keeps)")
	complete(cmd, "side", string(store.Producer), string(store.Consumer))
}

// isConsumer says which side it is.
func (f *sideFlag) isConsumer() (bool, error) {
	switch f.side {
	case string(store.Producer):
		return false, nil
	case string(store.Consumer):
		return true, nil
	}
	return false, usagef("--side is %.40q; use producer or consumer", f.side)
}

// withKeeper opens the database and gives do what its consumers keep, or one of them.
func (o *options) withKeeper(ctx context.Context, consumer string, do func(k *store.Keeper) error) error {
	d, err := o.openAnswering(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	k, err := store.NewKeeper(d.DB, d.dialect, d.prefix, consumer)
	if err != nil {
		return err
	}
	defer k.CloseIdle()
	if err := k.CheckSchema(ctx); err != nil {
		return err
	}
	return do(k)
}

// listKept lists what consumers keep.
func (f *listFlags) listKept(ctx context.Context, k *store.Keeper, stdout, stderr io.Writer) error {
	now, err := k.Clock(ctx)
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
	var table []view.Kept
	listed, more := 0, false
	for _, status := range statuses {
		for after := int64(0); !more; {
			rows, err := k.List(ctx, f.destination, status, after, listPage)
			if err != nil {
				return err
			}
			for i := range rows {
				after = rows[i].ID
				if more = f.limit > 0 && listed == f.limit; more {
					break
				}
				listed++
				s := view.SummarizeKept(&rows[i])
				if !f.json {
					table = append(table, s)
				} else if err := printJSON(stdout, s); err != nil {
					return err
				}
			}
			if len(rows) < listPage {
				break
			}
		}
	}
	if len(table) > 0 {
		if err := view.ListKept(stdout, table, now, terminal.Is(stdout)); err != nil {
			return err
		}
	}
	if !f.rejected {
		if err := tellPauses(ctx, store.Consumer, k, f.destination, now, stderr); err != nil {
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

// showKept shows what is kept of a message: once for each delivery of it.
func showKept(ctx context.Context, k *store.Keeper, id waybill.ID, asJSON bool, w io.Writer) error {
	rows, err := k.Find(ctx, id)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("no consumer keeps a message %s: it was handled, discarded or given another id, or never was kept", id)
	}
	now, err := k.Clock(ctx)
	if err != nil {
		return err
	}
	for i := range rows {
		whole := view.OpenKept(&rows[i])
		if asJSON {
			err = printJSON(w, whole)
		} else {
			if i > 0 {
				fmt.Fprintln(w)
			}
			err = whole.Write(w, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func notKept(id waybill.ID) error {
	return &messageError{fmt.Sprintf("no consumer keeps a rejected message %s; see 'waybill list --side consumer --rejected'", id)}
}

// isKept says why there is no rejected message of this id that a consumer keeps.
func isKept(ctx context.Context, k *store.Keeper, id waybill.ID) error {
	rows, err := k.Find(ctx, id)
	if err == nil && !slices.ContainsFunc(rows, func(r store.Kept) bool { return r.Status == store.Rejected }) {
		err = notKept(id)
	}
	return err
}

// resendKept has one message handled again.
func (f *resendFlags) resendKept(ctx context.Context, k *store.Keeper, id waybill.ID, w io.Writer) error {
	newID, found, err := k.Resend(ctx, id, f.asNew)
	if err != nil {
		return err
	}
	if !found {
		return notKept(id)
	}
	return printLine(w, f.json, resentLine{MessageID: id, NewMessageID: newID}, newID.String())
}

// confirmKept is confirm for what consumers keep.
func (f *discardFlags) confirmKept(cmd *cobra.Command, k *store.Keeper, ids []waybill.ID) error {
	var rejected []view.Kept
	for _, id := range f.shown(cmd, ids) {
		rows, err := k.Find(cmd.Context(), id)
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].Status == store.Rejected {
				rejected = append(rejected, view.SummarizeKept(&rows[i]))
			}
		}
	}
	if len(rejected) == 0 {
		return notKept(ids[0])
	}
	now, err := k.Clock(cmd.Context())
	if err != nil {
		return err
	}
	if err := view.ListKept(cmd.ErrOrStderr(), rejected, now, terminal.Is(cmd.ErrOrStderr())); err != nil {
		return err
	}
	return f.ask(cmd, ids, len(rejected))
}

// askToDiscard asks whether to discard n messages. It returns nil for yes.
func askToDiscard(cmd *cobra.Command, n int) error {
	question := "Discard this message for good?"
	if n > 1 {
		question = fmt.Sprintf("Discard these %d messages for good?", n)
	}
	yes, err := terminal.Confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), question)
	if err == nil && !yes {
		err = errors.New("nothing was discarded")
	}
	return err
}

// discardKept discards one message.
func (f *discardFlags) discardKept(ctx context.Context, k *store.Keeper, id waybill.ID, w io.Writer) error {
	discard := func() (bool, error) { return k.Discard(ctx, id) }
	if picked := f.pick.seen[id]; len(picked) > 0 { // each of its rows by itself
		f.pick.seen[id] = picked[1:]
		discard = func() (bool, error) { return k.DiscardSeen(ctx, picked[0].id, int(picked[0].state)) }
	}
	found, err := discard()
	if err != nil {
		return err
	}
	if !found {
		return notKept(id)
	}
	return printLine(w, f.json, discardedLine{MessageID: id}, id.String())
}
