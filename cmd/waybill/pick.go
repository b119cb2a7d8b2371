package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

// pickFlags pick rejected messages by what they have in common, in place of their ids.
type pickFlags struct {
	all                 bool
	destination, reason string
	olderThan           time.Duration

	seen map[waybill.ID][]seenRow // what was picked, as it was then
}

// seenRow is a row as it was picked: its id, and what changes whenever somebody sends it again.
type seenRow struct{ id, state int64 }

func (f *pickFlags) saw(id waybill.ID, row seenRow) {
	if f.seen == nil {
		f.seen = map[waybill.ID][]seenRow{}
	}
	f.seen[id] = append(f.seen[id], row)
}

// add adds the flags.
func (f *pickFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "all rejected messages")
	flags.StringVar(&f.destination, "destination", "", "all rejected messages to this `destination`")
	flags.StringVar(&f.reason, "reason", "", "all rejected messages with this `text` in the reason")
	flags.DurationVar(&f.olderThan, "older-than", 0, "all rejected messages that were sent, or with --side consumer were kept, longer ago than this")
	cmd.MarkFlagsMutuallyExclusive("all", "destination")
	cmd.MarkFlagsMutuallyExclusive("all", "reason")
	cmd.MarkFlagsMutuallyExclusive("all", "older-than")
}

// isGiven says whether any of the flags is.
func (f *pickFlags) isGiven(cmd *cobra.Command) bool {
	for _, name := range []string{"all", "destination", "reason", "older-than"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// takesOrPicks checks arguments that are ids, or none where the flags pick.
func (f *pickFlags) takesOrPicks(cmd *cobra.Command, args []string) error {
	switch picks := f.isGiven(cmd); {
	case picks && len(args) > 0:
		return fmt.Errorf("%s takes ids, or --all, --destination, --reason and --older-than, and not both", cmd.Name())
	case !picks && len(args) == 0:
		return fmt.Errorf("%s needs ID, or one of --all, --destination, --reason and --older-than", cmd.Name())
	case f.olderThan < 0:
		return fmt.Errorf("--older-than is %v, below 0", f.olderThan)
	}
	return nil
}

// picks says whether a message is one of those.
func (f *pickFlags) picks(reason string, age time.Duration) bool {
	return strings.Contains(reason, f.reason) && age >= f.olderThan
}

// none tells that no message is one of those.
func (f *pickFlags) none(stderr io.Writer) {
	fmt.Fprintln(stderr, "No such messages.")
	if survey.MayBeFolded(f.reason) {
		fmt.Fprintln(stderr, "#, <id>, <hex> and … stand for what differs in the reasons of 'waybill groups': give --reason a part without them.")
	}
}

// each calls do for each of the messages that were rejected when it began, the oldest first.
// One that is rejected again meanwhile is not taken twice. It returns how many there were.
func (f *pickFlags) each(ctx context.Context, q *store.Queue, do func(waybill.ID) error) (n int, err error) {
	clock, err := q.Clock(ctx)
	if err != nil {
		return 0, err
	}
	now := time.UnixMicro(clock)
	for after := int64(0); ; {
		rows, err := q.List(ctx, f.destination, store.Rejected, after, listPage)
		if err != nil {
			return n, err
		}
		for i := range rows {
			after = rows[i].ID
			s := view.Summarize(&rows[i])
			if !f.picks(s.LastError, now.Sub(s.Sent(now))) {
				continue
			}
			n++
			f.saw(s.MessageID, seenRow{rows[i].ID, rows[i].NotBefore})
			if err := do(s.MessageID); err != nil {
				return n, err
			}
		}
		if len(rows) < listPage {
			return n, nil
		}
	}
}

// eachKept is each for what consumers keep.
func (f *pickFlags) eachKept(ctx context.Context, k *store.Keeper, do func(waybill.ID) error) (n int, err error) {
	now, err := k.Clock(ctx)
	if err != nil {
		return 0, err
	}
	for after := int64(0); ; {
		rows, err := k.List(ctx, f.destination, store.Rejected, after, listPage)
		if err != nil {
			return n, err
		}
		for i := range rows {
			after = rows[i].ID
			if !f.picks(rows[i].Reason, now.Sub(time.UnixMicro(rows[i].KeptAt))) {
				continue
			}
			n++
			f.saw(rows[i].MessageID, seenRow{rows[i].ID, int64(rows[i].Tries)})
			if err := do(rows[i].MessageID); err != nil {
				return n, err
			}
		}
		if len(rows) < listPage {
			return n, nil
		}
	}
}
