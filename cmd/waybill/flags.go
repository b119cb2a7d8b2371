package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
)

// takes checks a command's arguments by their names. A last name that ends in "..."
// stands for one or more.
func takes(names ...string) cobra.PositionalArgs {
	many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s needs %s", cmd.Name(), strings.TrimSuffix(names[len(args)], "..."))
		}
		if len(args) > len(names) && !many {
			return fmt.Errorf("%s does not take the argument %.80q", cmd.Name(), args[len(names)])
		}
		return nil
	}
}

// checkPositive checks that flags that are given, of integers or durations, are above 0.
func checkPositive(cmd *cobra.Command, names ...string) error {
	flags := cmd.Flags()
	var wrong []error
	for _, name := range names {
		value, err := flags.GetInt(name)
		if err != nil {
			var d time.Duration
			d, err = flags.GetDuration(name)
			value = int(d)
		}
		if err != nil {
			return err
		}
		if flags.Changed(name) && value <= 0 {
			wrong = append(wrong, usagef("--%s has to be above 0", name))
		}
	}
	return errors.Join(wrong...)
}

// parseIDs reads message ids from the command line.
func parseIDs(args []string) ([]waybill.ID, error) {
	ids := make([]waybill.ID, 0, len(args))
	for _, arg := range args {
		id, err := waybill.ParseID(strings.TrimSpace(arg))
		if err != nil {
			return nil, usagef("%.80q is no message id, such as 01890a5d-ac96-774b-bcce-b302099a8057", arg)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// complete offers the words for a flag's value in shells.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// It fails only for a flag that does not exist, which a test would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
