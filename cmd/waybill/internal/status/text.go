package status

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
)

// Write prints the report for a person.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Database\t%s\n", r.Database)
	r.writePaused(t)
	r.writeProducer(t)
	r.writeConsumer(t)
	for _, f := range r.Findings {
		word := "Note"
		if f.Blocks {
			word = "Trouble"
		}
		fmt.Fprintf(t, "\n%s\t%s's side: %s\n", word, f.Side, sentence(f.Text))
	}
	return t.Flush()
}

func (r *Report) writeProducer(w io.Writer) {
	p := &r.Producer
	if p.Problem != "" {
		fmt.Fprintf(w, "Producer\t%s\n", sentence(p.Problem))
		return
	}
	fmt.Fprintf(w, "Tables\t%s\n", p.Tables.text())
	fmt.Fprintf(w, "Relay\t%s\n", p.Relay.text())
	if p.Twin != nil {
		fmt.Fprintf(w, "Twin\t%s has this outbox's identity, too, and takes its receipts (heard %s ago)\n",
			p.Twin.Holder, terminal.Span(time.Duration(p.Twin.Ago*float64(time.Second))))
	}
	fmt.Fprintf(w, "Pending\t%s\n", number(p.Pending, p.PendingAtLeast))
	fmt.Fprintf(w, "Rejected\t%s\n", number(p.Rejected, p.RejectedAtLeast))
	if r.Rates != nil {
		fmt.Fprintf(w, "Rates\t%s committed%s a second (over %s)\n", rate(r.Rates.Committed), confirmed(r.Rates.Confirmed), span(r.Rates.Over))
	}
	for _, x := range p.Waits {
		of := ""
		if x.Destination != "" {
			of = terminal.Destination(x.Destination, x.Topic) + ", "
		}
		fmt.Fprintf(w, "Waiting\t%ssince %s (%s): %s\n", of, x.Since.Format("15:04:05 MST"), terminal.Span(r.At.Sub(x.Since)), terminal.Printable(x.Why))
	}
	if len(p.Destinations) == 0 {
		return
	}
	delayed, some := slices.ContainsFunc(p.Destinations, func(d Destination) bool { return d.Delayed > 0 }), p.PendingAtLeast || p.RejectedAtLeast
	heading := "\nDESTINATION\tSTATUS\tMESSAGES\tOLDEST\tSENT AGAIN AT MOST"
	if delayed {
		heading += "\tDELAYED"
	}
	fmt.Fprintln(w, heading)
	for _, d := range p.Destinations {
		line := fmt.Sprintf("%s\t%s\t%s\t%s\t%d", terminal.Destination(d.Destination, d.Topic), d.Status, number(d.Messages, d.AtLeast), span(d.OldestAge), d.MostCopies)
		if d.Delayed > 0 {
			line += fmt.Sprintf("\t%s, due in %s", terminal.Number(d.Delayed), span(d.DueIn))
		} else if delayed {
			line += "\t-"
		}
		fmt.Fprintln(w, line)
	}
	if some {
		fmt.Fprintf(w, "Only the oldest and the newest messages are counted, and the first rejected ones: there are more, and there may be other destinations. --exact counts all.\n")
	}
	if p.Rejected > 0 {
		fmt.Fprint(w, "What is rejected waits for you alone: 'waybill groups' has the reasons; mend the cause, then 'waybill resend' or 'waybill discard'.\n")
	}
}

// number is a number that may be no more than the least.
func number(n int64, atLeast bool) string {
	if atLeast {
		return terminal.Number(n) + "+"
	}
	return terminal.Number(n)
}

func span(seconds float64) string {
	return terminal.Span(time.Duration(seconds * float64(time.Second)))
}

func confirmed(perSecond *float64) string {
	if perSecond == nil {
		return ""
	}
	return " and " + rate(*perSecond) + " confirmed"
}

func (r *Report) writeConsumer(w io.Writer) {
	c := &r.Consumer
	switch {
	case c.Problem != "":
		fmt.Fprintf(w, "\nConsumer\t%s\n", sentence(c.Problem))
		return
	case len(c.Consumers) == 0:
		fmt.Fprintf(w, "\nConsumers\tnone has recorded anything yet (tables: %s)\n", c.Tables.text())
		return
	}
	fmt.Fprintf(w, "\nConsumers\ttables: %s\n", c.Tables.text())
	fmt.Fprint(w, "CONSUMER\tONCE RECORDS\tLATEST RECORDS\tKEPT, REJECTED\tKEPT, WAITING\tPRODUCER\tFORGOTTEN UP TO\n")
	for _, group := range c.Consumers {
		start := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", group.Consumer, number(group.Once, group.OnceAtLeast), number(group.Latest, group.LatestAtLeast),
			number(group.KeptRejected, group.KeptAtLeast), number(group.KeptWaiting, group.KeptAtLeast))
		for _, h := range group.Producers {
			fmt.Fprintf(w, "%s\t%s\t%s\n", start, cmp.Or(strings.TrimSuffix(h.Producer, "."), "-"), h.text())
			start = "\t\t\t\t"
		}
		if len(group.Producers) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\n", start)
		}
	}
}

func (t *Tables) text() string {
	if t == nil {
		return "there are none"
	}
	text := fmt.Sprintf("version %d", t.Version)
	if t.CompatibleFrom < t.Version {
		text += fmt.Sprintf(", compatible with programs from version %d on", t.CompatibleFrom)
	} else {
		text += ", for programs of this version"
	}
	switch {
	case t.Version < t.Program:
		text += fmt.Sprintf("; 'waybill init' makes it %d, when no older program is left", t.Program)
	case t.Version > t.Program:
		text += fmt.Sprintf("; this program is of version %d", t.Program)
	}
	return text
}

func (l *Lease) text() string {
	switch {
	case l == nil:
		return "none has led yet"
	case l.Leading:
		return fmt.Sprintf("%s leads, lease for %s more, has read up to row %d", l.Holder, terminal.Span(time.Duration(l.Left*float64(time.Second))), l.Cursor)
	case l.Holder == "":
		return fmt.Sprintf("none leads; the last one stopped after row %d", l.Cursor)
	}
	return fmt.Sprintf("none leads; the lease of %s ended %s ago, after row %d", l.Holder, terminal.Span(time.Duration(-l.Left*float64(time.Second))), l.Cursor)
}

func (h *Horizon) text() string {
	id, err := waybill.ParseID(h.Forgotten)
	if err != nil {
		return "nothing"
	}
	return id.Time().UTC().Format("2006-01-02 15:04:05 MST")
}

func rate(r float64) string {
	if r >= 10 || r == math.Trunc(r) {
		return terminal.Number(int64(math.Round(r)))
	}
	return strconv.FormatFloat(r, 'f', 1, 64)
}

// sentence is an error of the library without the name it begins with.
func sentence(text string) string {
	const name = "waybill: "
	if len(text) > len(name) && text[:len(name)] == name {
		return text[len(name):]
	}
	return text
}
