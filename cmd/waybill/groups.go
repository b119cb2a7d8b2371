package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

const groupsHelp = `Show rejected messages by reason: reasons that differ in numbers, ids and what stands in
quotes alone are one group, for each destination and consumer. The largest come first. FIRST
and LAST are when its messages were sent or, at a consumer, kept; when one was rejected, the log
says. #, <id>, <hex> and … stand for what differs: --reason of other commands takes a part of the
reason without them.
Those that consumers keep (--side consumer) are shown, too, where their tables are in the
same database. The oldest 10,000 of each side are looked at; on MySQL the outbox's come in
order of their last try, and before them those that were never tried again.

"waybill ui" sends a group again in stages.`

const groupsExample = `  waybill groups
  waybill groups --destination orders --json | jq -r .example.message_id`

func newGroupsCommand(o *options) *cobra.Command {
	var side string
	var selection survey.Selection
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "groups",
		Short:   "Show rejected messages by reason",
		Long:    groupsHelp,
		Example: groupsExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if selection.Side, err = repair.SideOf(side); err != nil {
				return usagef("--side: %w", err)
			}
			d, err := o.openAnswering(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			r, err := survey.NewReader(d.DB, d.dialect, d.prefix)
			if err != nil {
				return err
			}
			defer r.Close()
			if err := unshown(cmd.Context(), r, selection.Side, cmd.ErrOrStderr()); err != nil {
				return err
			}
			groups, err := r.Groups(cmd.Context(), &selection, 0)
			if err != nil {
				return err
			}
			return printGroups(cmd.OutOrStdout(), cmd.ErrOrStderr(), groups, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&selection.Destination, "destination", "", "messages to this `destination` only")
	flags.StringVar(&selection.Consumer, "consumer", "", "messages only that this `consumer` has rejected, as far as is known")
	flags.StringVar(&selection.Text, "text", "", "messages only with this `text` in their reason")
	flags.StringVar(&side, "side", "", "`side` whose messages these are: producer or consumer (default both)")
	complete(cmd, "side", string(store.Producer), string(store.Consumer))
	o.offerFlag(cmd, "destination", destinations)
	o.offerFlag(cmd, "consumer", consumers)
	flags.BoolVar(&asJSON, "json", false, "print a JSON line for each group")
	return cmd
}

// unshown tells why the rejected messages of a side ("" for both) cannot be shown, as of tables
// of an older version. Where that is all that was asked for, it is an error.
func unshown(ctx context.Context, r *survey.Reader, side store.Side, stderr io.Writer) error {
	sides, err := r.Sides(ctx)
	if err != nil {
		return err
	}
	var problems []string
	shown := false
	look := func(of store.Side, there bool, problem string) {
		if side != "" && side != of {
			return
		}
		shown = shown || there
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	look(store.Producer, sides.Producer, sides.ProducerProblem)
	look(store.Consumer, sides.Consumer, sides.ConsumerProblem)
	if len(problems) > 0 && !shown {
		return errors.New(strings.Join(problems, "; "))
	}
	for _, problem := range problems {
		fmt.Fprintln(stderr, "Left out: "+problem)
	}
	return nil
}

// shownReason is the most characters of a reason in a terminal's table; elsewhere it is whole.
const shownReason = 100

func printGroups(stdout, stderr io.Writer, groups *survey.Groups, asJSON bool) error {
	if asJSON {
		for i := range groups.Groups {
			if err := printJSON(stdout, &groups.Groups[i]); err != nil {
				return err
			}
		}
	} else if len(groups.Groups) > 0 {
		t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "MESSAGES\tDESTINATION\tCONSUMER\tFIRST\tLAST\tREASON\tEXAMPLE\n")
		for i := range groups.Groups {
			g := &groups.Groups[i]
			consumer, reason := g.Consumer, []rune(terminal.Printable(strings.Join(strings.Fields(g.Reason), " ")))
			if terminal.Is(stdout) && len(reason) > shownReason {
				reason = append(reason[:shownReason-1], '…')
			}
			if consumer == "" {
				consumer = "-"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", terminal.Number(int64(g.Messages)), terminal.Destination(g.Destination, g.Topic),
				terminal.Printable(consumer), g.First.Format(time.DateTime), g.Last.Format(time.DateTime), string(reason), g.Example.MessageID)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	switch {
	case groups.Stopped:
		fmt.Fprintf(stderr, "These are the first %s rejected messages; there are more.\n", terminal.Number(int64(groups.Looked)))
	case len(groups.Groups) == 0:
		fmt.Fprintln(stderr, "No such messages.")
	}
	return nil
}
