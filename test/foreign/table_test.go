package foreign

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// update has the page written from what was seen: make foreign-table.
var update = flag.Bool("update", false, "write the tables of docs/use/foreign.md")

var page = filepath.Join(root, "docs", "use", "foreign.md")

const (
	producersMark = "producers"
	consumersMark = "consumers"
)

// cell is a place in one of the page's tables.
type cell struct{ client, message, server, connector string }

// faults are what is known to be wrong, by the kind of message and what becomes of it: nothing
// else may be lost or garbled. What is mended goes from this list, and from the page.
var faults = map[fault]bool{
	// Artemis takes the content type of a STOMP message to no place where amqp1 looks for it.
	{"text-typed", garbled}: true, {"bytes", garbled}: true,
	// ActiveMQ Classic shows consumers that speak OpenWire or STOMP what amqp1 publishes as it is encoded.
	{"", garbled}: true,
}

// fault is a kind of message ("" for what a relay sends) and what becomes of it.
type fault struct{ message, outcome string }

// results is what was seen.
type results struct {
	mu        sync.Mutex
	producers map[cell]string
	consumers map[cell]string
}

func (r *results) produced(c cell, outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.producers == nil {
		r.producers = map[cell]string{}
	}
	r.producers[c] = outcome
}

func (r *results) consumed(c cell, outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumers == nil {
		r.consumers = map[cell]string{}
	}
	r.consumers[c] = outcome
}

// isWrong reports whether a message was lost or garbled.
func isWrong(outcome string) bool { return outcome == garbled || outcome == lost }

// judge compares what was seen with the page, or writes the page. Whatever the page says, no
// message may be lost or garbled but for the known faults.
func (r *results) judge(t *testing.T) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, table := range []struct {
		mark string
		seen map[cell]string
		all  []cell
		draw func(map[cell]string) string
	}{
		{producersMark, r.producers, producerCells(), producersTable},
		{consumersMark, r.consumers, consumerCells(), consumersTable},
	} {
		before, old, after, err := between(text, table.mark)
		if err != nil {
			t.Fatal(err)
		}
		want := readTable(old)
		for _, c := range table.all {
			got, isSeen := table.seen[c]
			if !isSeen {
				continue // its server or its program is not there
			}
			if isWrong(got) && !faults[fault{c.message, got}] {
				t.Errorf("%+v: got %s", c, got)
			}
			if !*update && got != want[c] {
				t.Errorf("%+v: got %q, and %s says %q; if that is meant: make foreign-table", c, got, page, want[c])
			}
			want[c] = got
		}
		text = before + table.draw(want) + after
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil { // the mode of a new file only
			t.Fatal(err)
		}
	}
}

// between cuts the page at a table's marks, which stay with what is around the table.
func between(text, mark string) (before, table, after string, err error) {
	begin := "<!-- " + mark + ": begin (make foreign-table) -->\n"
	end := "<!-- " + mark + ": end -->\n"
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		return "", "", "", fmt.Errorf("%s has no marks %q and %q", page, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	i += len(begin)
	return text[:i], text[i:j], text[j:], nil
}

// producerCells are all the places of the table of producers.
func producerCells() (all []cell) {
	for _, c := range clients {
		for _, m := range c.messages {
			for _, via := range c.server.connectors {
				all = append(all, cell{c.name, m.name, c.server.name, via.name})
			}
		}
	}
	return all
}

func consumerCells() (all []cell) {
	for _, c := range clients {
		for _, via := range c.server.connectors {
			all = append(all, cell{c.name, "", c.server.name, via.name})
		}
	}
	return all
}

const producersHeader = "| producer | message | server | connector | what becomes of it |\n|---|---|---|---|---|\n"

// producersTable has a row for each type of message on each server; connectors over which the
// same becomes of it share one.
func producersTable(of map[cell]string) string {
	var b strings.Builder
	b.WriteString(producersHeader)
	for _, c := range clients {
		for _, m := range c.messages {
			for _, group := range grouped(c, m.name, of) {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.name, m.name, c.server.name, group.connectors, group.outcome)
			}
		}
	}
	return b.String()
}

const consumersHeader = "| consumer | server | relay's connector | takes them as |\n|---|---|---|---|\n"

func consumersTable(of map[cell]string) string {
	var b strings.Builder
	b.WriteString(consumersHeader)
	for _, c := range clients {
		for _, group := range grouped(c, "", of) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.name, c.server.name, group.connectors, group.outcome)
		}
	}
	return b.String()
}

// group is some of a server's connectors, and what is so over each of them.
type group struct{ connectors, outcome string }

func grouped(c *client, message string, of map[cell]string) (all []group) {
	for _, via := range c.server.connectors {
		outcome, name := of[cell{c.name, message, c.server.name, via.name}], "`"+via.name+"`"
		i := slices.IndexFunc(all, func(g group) bool { return g.outcome == outcome })
		if i < 0 {
			all = append(all, group{name, outcome})
			continue
		}
		all[i].connectors += ", " + name
	}
	return all
}

// readTable reads what either kind of table says.
func readTable(table string) map[cell]string {
	of := map[cell]string{}
	for line := range strings.Lines(table) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		c := cell{client: row[0]}
		var connectors string
		switch len(row) {
		case 5:
			c.message, c.server, connectors = row[1], row[2], row[3]
		case 4:
			c.server, connectors = row[1], row[2]
		default:
			continue
		}
		for connector := range strings.SplitSeq(connectors, ",") {
			c.connector = strings.Trim(strings.TrimSpace(connector), "`")
			of[c] = row[len(row)-1]
		}
	}
	return of
}

// TestThePageHasEveryCell needs neither servers nor programs.
func TestThePageHasEveryCell(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[fault]bool{}
	for mark, all := range map[string][]cell{producersMark: producerCells(), consumersMark: consumerCells()} {
		_, table, _, err := between(string(content), mark)
		if err != nil {
			t.Fatal(err)
		}
		of := readTable(table)
		for _, c := range all {
			if of[c] == "" {
				t.Errorf("%s has no cell %+v: make foreign-table", page, c)
			}
		}
		draw := map[string]func(map[cell]string) string{producersMark: producersTable, consumersMark: consumersTable}[mark]
		if want := draw(of); table != want {
			t.Errorf("the table of %s is not as it is written, or has rows too many; want\n%s", mark, want)
		}
		for c, outcome := range of {
			seen[fault{c.message, outcome}] = true
			if isWrong(outcome) && !faults[fault{c.message, outcome}] {
				t.Errorf("%+v: got %s in %s, want no message lost or garbled", c, outcome, page)
			}
		}
	}
	for f := range faults {
		if !seen[f] {
			t.Errorf("the fault %+v is in no table of %s: if it is mended, it is no known fault any more", f, page)
		}
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
