// Command brokers writes the table of docs/brokers.md from the conformance suite's
// own results: what each adapter declares, and how many cases it passed, failed and
// was not asked. It reads "go test -json" from standard input and replaces what
// stands between the table's markers in the file that it is given:
//
//	go test -json -run Conformance ./broker/... | go run ./scripts/brokers docs/brokers.md
//
// It exits with 1 where a case has failed, or there are no results.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/waybill-go/waybill/broker"
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
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		return fmt.Errorf("%s has no markers %q and %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	replaced := slices.Concat(before, []byte(begin), []byte(table(runs)), []byte(end), after)
	if err := os.WriteFile(path, replaced, 0o600); err != nil {
		return err
	}
	for _, r := range runs {
		if r.failed > 0 {
			return fmt.Errorf("%s on %s: %d cases failed", r.declared.Adapter, r.declared.Server, r.failed)
		}
	}
	return nil
}

// declaration is the line that brokertest.Test logs.
type declaration struct {
	Adapter      string
	Server       string
	Capabilities broker.Capabilities
}

// result is one run of the suite.
type result struct {
	declared                declaration
	passed, failed, skipped int
}

// event is a line of "go test -json".
type event struct {
	Action, Package, Test, Output string
}

// marker begins the suite's declaration in a test's output.
const marker = "brokertest: "

func read(events io.Reader) ([]*result, error) {
	runs := map[string]*result{} // by package and test
	leaves := map[string]string{}
	var parents []string
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Test == "" {
			continue // a line of the tool's own
		}
		name := e.Package + "\x00" + e.Test
		switch e.Action {
		case "output":
			if _, text, found := strings.Cut(e.Output, marker); found {
				var d declaration
				if err := json.Unmarshal([]byte(text), &d); err != nil {
					return nil, fmt.Errorf("%s: %w", e.Test, err)
				}
				d.Adapter = e.Package[strings.Index(e.Package, "/broker/")+len("/broker/"):]
				runs[name] = &result{declared: d}
			}
		case "pass", "fail", "skip":
			leaves[name] = e.Action
			parents = append(parents, name)
		}
	}
	for _, name := range parents {
		if i := strings.LastIndex(name, "/"); i >= 0 {
			delete(leaves, name[:i])
		}
	}
	for name, action := range leaves {
		for run, r := range runs {
			if !strings.HasPrefix(name, run+"/") {
				continue
			}
			switch action {
			case "pass":
				r.passed++
			case "fail":
				r.failed++
			default:
				r.skipped++
			}
		}
	}
	var all []*result
	for _, r := range runs {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *result) int {
		return cmp.Or(cmp.Compare(a.declared.Adapter, b.declared.Adapter), cmp.Compare(a.declared.Server, b.declared.Server))
	})
	return all, lines.Err()
}

func table(runs []*result) string {
	var b strings.Builder
	b.WriteString("| adapter | run against | kept over a restart | in order | topics | shared topics | requeue | dead letter | unroutable refused | greatest message | ack deadline | cases passed | failed | not asked |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range runs {
		c := r.declared.Capabilities
		size, deadline := "no limit known", "none"
		if c.MaxMessage > 0 {
			size = fmt.Sprintf("%d bytes", c.MaxMessage)
		}
		if c.AckDeadline > 0 {
			deadline = c.AckDeadline.String()
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %d | %d |\n", r.declared.Adapter, r.declared.Server,
			yes(c.Persistent), yes(c.Ordered), yes(c.Topics), yes(c.SharedTopics), yes(c.Requeue), yes(c.DeadLetter), yes(c.Unroutable),
			size, deadline, r.passed, r.failed, r.skipped)
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
