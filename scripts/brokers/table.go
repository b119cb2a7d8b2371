package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-go/waybill/broker"
)

// flags are the columns of what is declared or not.
var flags = []struct {
	title string
	of    func(c *broker.Capabilities) bool
}{
	{"kept over a restart", func(c *broker.Capabilities) bool { return c.Persistent }},
	{"in order", func(c *broker.Capabilities) bool { return c.Ordered }},
	{"topics", func(c *broker.Capabilities) bool { return c.Topics }},
	{"shared topics", func(c *broker.Capabilities) bool { return c.SharedTopics }},
	{"requeue", func(c *broker.Capabilities) bool { return c.Requeue }},
	{"dead letter", func(c *broker.Capabilities) bool { return c.DeadLetter }},
	{"unroutable refused", func(c *broker.Capabilities) bool { return c.Unroutable }},
	{"identity of messages", func(c *broker.Capabilities) bool { return c.Identity }},
	{"queues made only if asked", func(c *broker.Capabilities) bool { return c.MustExist }},
}

// table is the table of these runs, and of those in the old one whose adapters were
// not run.
func table(runs []*result, old string) string {
	var rows []string
	run := map[string]bool{}
	for _, r := range runs {
		rows = append(rows, row(r))
		run[adapterOf(row(r))] = true
	}
	for line := range strings.Lines(old) {
		if adapter := adapterOf(line); adapter != "" && !run[adapter] {
			rows = append(rows, line)
		}
	}
	slices.SortStableFunc(rows, func(a, b string) int { return strings.Compare(adapterOf(a), adapterOf(b)) })
	return header() + strings.Join(rows, "")
}

// adapterOf is the adapter of a row; "" for other lines.
func adapterOf(line string) string {
	_, rest, found := strings.Cut(line, "| `")
	adapter, _, _ := strings.Cut(rest, "`")
	if !found {
		return ""
	}
	return adapter
}

func header() string {
	var b strings.Builder
	b.WriteString("| adapter | protocol | run against | conformance suite |")
	for _, f := range flags {
		fmt.Fprintf(&b, " %s |", f.title)
	}
	b.WriteString(" limits |\n" + strings.Repeat("|---", 4+len(flags)+1) + "|\n")
	return b.String()
}

func row(r *result) string {
	var b strings.Builder
	c := &r.Capabilities
	fmt.Fprintf(&b, "| `%s` | %s | %s | %s |", r.adapter, c.Name, r.Server, r.verdict())
	for _, f := range flags {
		word := "no"
		switch {
		case !r.declared:
			word = "?"
		case f.of(c):
			word = "yes"
		}
		fmt.Fprintf(&b, " %s |", word)
	}
	fmt.Fprintf(&b, " %s |\n", limits(c))
	return b.String()
}

// verdict says how a run ended.
func (r *result) verdict() string {
	switch {
	case !r.declared:
		return "**failed** before it began"
	case r.failed > 0:
		return fmt.Sprintf("**failed** %d of %d, %d not asked", r.failed, r.cases-r.notAsked, r.notAsked)
	case !r.passed:
		return fmt.Sprintf("**failed**: ended after %d cases", r.cases)
	}
	return fmt.Sprintf("passed %d, %d not asked", r.cases-r.notAsked, r.notAsked)
}

func limits(c *broker.Capabilities) string {
	var all []string
	if c.MaxMessage > 0 {
		all = append(all, fmt.Sprintf("messages of %d bytes", c.MaxMessage))
	}
	if c.Cumulative {
		all = append(all, "remembers a position, not messages")
	}
	if c.Redelivery > 0 {
		all = append(all, "what a dead receiver had comes again after a time-out")
	}
	if all == nil {
		return "none known"
	}
	return strings.Join(all, "; ")
}
