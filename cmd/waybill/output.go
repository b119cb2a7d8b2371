package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
)

// printJSON prints a value as one line of JSON.
func printJSON(w io.Writer, value any) error {
	text, err := jsonl.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// printLine prints a value as one line of JSON where that is asked for, or else a text.
func printLine(w io.Writer, asJSON bool, value any, text string) error {
	if asJSON {
		return printJSON(w, value)
	}
	_, err := io.WriteString(w, text+"\n")
	return err
}

// output is where a demo or a torture is shown: standard output, or standard error where
// that is for its JSON; terminal is nil where that is none.
func output(cmd *cobra.Command, asJSON bool) (out io.Writer, terminal *os.File) {
	out = cmd.OutOrStdout()
	if asJSON {
		out = cmd.ErrOrStderr()
	}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		terminal = file
	}
	return out, terminal
}

// verdict prints the report of a demo or a torture, where it is asked for, and makes a bad
// verdict an error.
func verdict(cmd *cobra.Command, asJSON bool, report any, ok bool) error {
	if asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(report); err != nil {
			return err
		}
	}
	if !ok {
		return errors.New("the verdict is bad")
	}
	return nil
}

// newRoleCommand makes the hidden command of the other processes of a demo or a torture.
func newRoleCommand(name string, run func(ctx context.Context, in io.Reader, out, log io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use:    name,
		Hidden: true,
		Args:   takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// selfCommand makes commands that run this program again with some arguments.
func selfCommand(args ...string) func() (*exec.Cmd, error) {
	return func() (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program, to start its other processes: %w", err)
		}
		// No context ends such a process: the supervisor kills it, and it ends with its
		// standard input.
		return exec.CommandContext(context.Background(), self, args...), nil
	}
}

// terminalWidth is the terminal's width in columns, or the usual one where it does
// not say.
func terminalWidth(file *os.File) int {
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}
