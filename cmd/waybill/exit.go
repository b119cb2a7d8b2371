package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/internal/redact"
)

// The exit statuses. Scripts rely on them.
const (
	exitSuccess = 0
	exitFailure = 1 // an operation failed, or its verdict is bad
	exitUsage   = 2 // the command line is wrong: nothing was tried
)

// usageError is a fault of the command line, the environment or an address.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage makes err a fault of the command line; nil stays nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// exitStatus reports err and says what the process ends with. Whatever fails before
// a command has begun to run is a fault of its command line.
func exitStatus(stderr io.Writer, cmd *cobra.Command, err error, running, interrupted bool) int {
	if err == nil {
		return exitSuccess
	}
	var wrong *usageError
	if !running || errors.As(err, &wrong) {
		fmt.Fprintf(stderr, "waybill: %s\nRun '%s --help' for usage.\n", message(err), cmd.CommandPath())
		return exitUsage
	}
	if interrupted && errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "waybill: %s\n", strings.ReplaceAll(message(err), context.Canceled.Error(), "interrupted"))
		return exitFailure
	}
	fmt.Fprintf(stderr, "waybill: %s\n", message(err))
	return exitFailure
}

// message is an error's text for a person: on one line where a driver breaks it,
// without the name that begins the library's own errors, and without the password of an
// address that was given where none belongs.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n\t", " ")
	return redact.Message(strings.TrimPrefix(text, "waybill: "))
}
