package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

const completionHelp = `Print the script with which a shell completes commands, flags and what they take:

  bash        waybill completion bash > /etc/bash_completion.d/waybill
              (with the package bash-completion)
  zsh         waybill completion zsh > "${fpath[1]}/_waybill"
  fish        waybill completion fish > ~/.config/fish/completions/waybill.fish
  powershell  waybill completion powershell >> $PROFILE

Destinations, consumers and the ids of rejected messages are completed as well, where
WAYBILL_DB or --db names a database that answers within a second. It is only read, no more than
a few hundred rows, and nothing is said of what fails.`

const completionExample = `  waybill completion bash > waybill.bash         # and then: source waybill.bash
  waybill completion zsh > _waybill
  waybill completion fish > waybill.fish
  waybill completion powershell > waybill.ps1`

// shells are what writes a completion script, by the shell.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"zsh":        func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	"powershell": func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) },
}

func newCompletionCommand() *cobra.Command {
	names := []cobra.Completion{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:               "completion SHELL",
		Short:             "Print the completion script of a shell",
		Long:              completionHelp,
		Example:           completionExample,
		Args:              takes("SHELL"),
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, ok := shells[args[0]]
			if !ok {
				return usagef("%.40q is no shell that completion knows: use %s", args[0], strings.Join(names, ", "))
			}
			return write(cmd.Root(), cmd.OutOrStdout())
		},
	}
}

// offerTime is the longest time that a shell waits while somebody presses a key; tests are
// more patient.
var offerTime = time.Second

const (
	// offerMost is about how many rows are read for it.
	offerMost = 200
	// offerMessages is how many messages are read, which come with their bodies.
	offerMessages = 20
	// offerText is the most characters of a reason beside an id.
	offerText = 60
)

// offer completes with what read finds in the database of the command line or the
// environment, and with nothing where that fails: a shell has no place for errors.
func (o *options) offer(read func(ctx context.Context, cmd *cobra.Command, d *database) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		o.fromEnvironment(cmd)
		o.name = connectionName(cmd)
		d, err := o.openExisting()
		if err != nil {
			return nil, directive
		}
		defer d.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), offerTime)
		defer cancel()
		found, err := read(ctx, cmd, d)
		if err != nil {
			return nil, directive
		}
		found = slices.DeleteFunc(found, func(c cobra.Completion) bool { return !strings.HasPrefix(c, begun) })
		slices.Sort(found)
		return slices.Compact(found), directive
	}
}

// offerFlag has a flag completed with what read finds.
func (o *options) offerFlag(cmd *cobra.Command, flag string, read func(ctx context.Context, cmd *cobra.Command, d *database) ([]cobra.Completion, error)) {
	// It fails only for a flag that does not exist, which a test would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, o.offer(read))
}

// destinations are those that messages wait for, and those that are paused.
func destinations(ctx context.Context, cmd *cobra.Command, d *database) ([]cobra.Completion, error) {
	found, err := pausedDestinations(ctx, cmd, d)
	q, queueErr := d.queue()
	if queueErr != nil {
		return found, err
	}
	defer q.CloseIdle()
	tallies, queueErr := q.Tally(ctx, offerMost, offerTime/2)
	for i := range tallies.Destinations {
		found = append(found, tallies.Destinations[i].Destination)
	}
	if queueErr == nil {
		err = nil // one side's tables are enough
	}
	return found, err
}

// pausedDestinations are those that are paused, at either side.
func pausedDestinations(ctx context.Context, _ *cobra.Command, d *database) ([]cobra.Completion, error) {
	q, err := d.queue()
	if err != nil {
		return nil, err
	}
	defer q.CloseIdle()
	k, err := store.NewKeeper(d.DB, d.dialect, d.prefix, "")
	if err != nil {
		return nil, err
	}
	defer k.CloseIdle()
	producer, err := q.Pauses(ctx)
	consumer, consumerErr := k.Pauses(ctx)
	var found []cobra.Completion
	for _, p := range append(producer, consumer...) {
		found = append(found, p.Destination)
	}
	if consumerErr == nil {
		err = nil
	}
	return found, err
}

// consumers are those that know a producer.
func consumers(ctx context.Context, _ *cobra.Command, d *database) ([]cobra.Completion, error) {
	return store.Consumers(ctx, d.DB, d.dialect, d.prefix)
}

// rejectedIDs are the oldest rejected messages, of the side that the flag --side says.
func rejectedIDs(ctx context.Context, cmd *cobra.Command, d *database) ([]cobra.Completion, error) {
	var found []cobra.Completion
	add := func(id, destination, reason string) {
		about := []rune(terminal.Printable(strings.Join(strings.Fields(destination+": "+reason), " ")))
		found = append(found, cobra.CompletionWithDesc(id, string(about[:min(len(about), offerText)])))
	}
	if side := cmd.Flags().Lookup("side"); side != nil && side.Value.String() == string(store.Consumer) {
		k, err := store.NewKeeper(d.DB, d.dialect, d.prefix, "")
		if err != nil {
			return nil, err
		}
		defer k.CloseIdle()
		rows, err := k.List(ctx, "", store.Rejected, 0, offerMessages)
		for i := range rows {
			add(rows[i].MessageID.String(), rows[i].Destination, rows[i].Reason)
		}
		return found, err
	}
	q, err := d.queue()
	if err != nil {
		return nil, err
	}
	defer q.CloseIdle()
	rows, err := q.List(ctx, "", store.Rejected, 0, offerMessages)
	for i := range rows {
		s := view.Summarize(&rows[i])
		add(s.MessageID.String(), s.Destination, s.LastError)
	}
	return found, err
}
