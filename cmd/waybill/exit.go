package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
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

// whole is an error in which each argument that has a secret stands whole and without that.
// Errors quote the beginning of an argument, and in half an address nobody sees the password.
func whole(err error, args []string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, arg := range args {
		if name, value, found := strings.Cut(arg, "="); found && strings.HasPrefix(name, "-") {
			arg = value
		}
		shown := redact.Argument(arg)
		if shown == arg {
			continue
		}
		text = instead(text, strconv.Quote(arg), strconv.Quote(shown))
	}
	if text == err.Error() {
		return err
	}
	return &wholeError{text, err}
}

// leastQuoted is how much of an argument has to stand in quotes to be taken for its beginning.
const leastQuoted = 8

// instead returns a text with another quotation wherever one stands, or the beginning of it of
// any length, as %.40q cuts it.
func instead(text, quotation, another string) string {
	begins := quotation[:min(leastQuoted, len(quotation)-1)]
	var done strings.Builder
	for {
		at := strings.Index(text, begins)
		if at < 0 {
			return done.String() + text
		}
		n := len(begins)
		for n < len(quotation)-1 && at+n < len(text) && text[at+n] == quotation[n] {
			n++
		}
		done.WriteString(text[:at])
		if text = text[at:]; strings.HasPrefix(text[n:], `"`) {
			done.WriteString(another)
			text = text[n+1:]
			continue
		}
		done.WriteString(text[:n])
		text = text[n:]
	}
}

// wholeError is an error with another text.
type wholeError struct {
	text string
	err  error
}

func (e *wholeError) Error() string { return e.text }
func (e *wholeError) Unwrap() error { return e.err }

// message is an error's text for a person: on one line where a driver breaks it,
// without the name that begins the library's own errors, and without the password of an
// address that was given where none belongs.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n\t", " ")
	return redact.Message(strings.TrimPrefix(text, "waybill: "))
}
