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
)

// stage is where a play is shown: standard output, or standard error where that is for
// its JSON; terminal is nil where that is none.
func stage(cmd *cobra.Command, asJSON bool) (out io.Writer, terminal *os.File) {
	out = cmd.OutOrStdout()
	if asJSON {
		out = cmd.ErrOrStderr()
	}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		terminal = file
	}
	return out, terminal
}

// verdict prints a play's report, where it is asked for, and makes a bad verdict an
// error.
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

// selfCommand makes commands that run this program again with some arguments.
func selfCommand(args ...string) func() (*exec.Cmd, error) {
	return func() (*exec.Cmd, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program, to start its other processes: %w", err)
		}
		// No context ends such a process: its play kills it, and it ends with its
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
