// Command brokers writes the table of docs/operate/brokers.md from the conformance suite's
// own results: what each adapter declares, on which server it was run, and how the
// cases ended. It reads "go test -json" from standard input, finds the runs by the
// line that the suite logs, and replaces those adapters' rows between the table's
// markers in the file that it is given; the rows of adapters that were not run stay:
//
//	go test -json -run Conformance ./broker/... | go run ./scripts/brokers docs/operate/brokers.md
//
// It exits with 1, with the table written, where a run has failed.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const (
	begin = "<!-- table: begin (make brokers-table) -->\n"
	end   = "<!-- table: end -->\n"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json -run Conformance ./broker/... | go run ./scripts/brokers FILE")
		os.Exit(2)
	}
	if err := run(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "brokers:", err)
		os.Exit(1)
	}
}

func run(events io.Reader, path string) error {
	runs, err := read(events)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return errors.New("standard input has no results of the conformance suite")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	old, after, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		return fmt.Errorf("%s has no markers %q and %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	replaced := slices.Concat(before, []byte(begin), []byte(table(runs, string(old))), []byte(end), after)
	if err := os.WriteFile(path, replaced, 0o600); err != nil { // the mode of a new file only
		return err
	}
	var failed []error
	for _, r := range runs {
		if !r.ok() {
			failed = append(failed, fmt.Errorf("%s on %s: %s\n%s", r.adapter, r.Server, r.verdict(), strings.Join(r.problems, "\n")))
		}
	}
	return errors.Join(failed...)
}
