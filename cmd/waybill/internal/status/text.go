package status

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Write prints the report for a person.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Database\t%s\n", r.Database)
	r.writeProducer(t)
	r.writeConsumer(t)
	return t.Flush()
}

func (r *Report) writeProducer(w io.Writer) {
	p := &r.Producer
	if p.Problem != "" {
		fmt.Fprintf(w, "Producer\t%s\n", sentence(p.Problem))
		return
	}
	fmt.Fprintf(w, "Relay\t%s\n", p.Relay.text())
	fmt.Fprintf(w, "Pending\t%s\n", Number(p.Pending))
	fmt.Fprintf(w, "Rejected\t%s\n", Number(p.Rejected))
	if r.Rates != nil {
		fmt.Fprintf(w, "Rates\t%s committed and %s confirmed a second (over %s)\n",
			rate(r.Rates.Committed), rate(r.Rates.Confirmed), Span(time.Duration(r.Rates.Over*float64(time.Second))))
	}
	if len(p.Destinations) == 0 {
		return
	}
	fmt.Fprintf(w, "\nDESTINATION\tSTATUS\tMESSAGES\tOLDEST\tMOST COPIES\n")
	for _, d := range p.Destinations {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", Name(d.Destination, d.Topic), d.Status, Number(d.Messages),
			Age(time.Duration(d.OldestAge*float64(time.Second))), d.MostCopies)
	}
}

func (r *Report) writeConsumer(w io.Writer) {
	c := &r.Consumer
	switch {
	case c.Problem != "":
		fmt.Fprintf(w, "\nConsumer\t%s\n", sentence(c.Problem))
		return
	case len(c.Consumers) == 0:
		fmt.Fprint(w, "\nConsumers\tnone has recorded anything yet\n")
		return
	}
	fmt.Fprint(w, "\nCONSUMER\tONCE RECORDS\tLATEST RECORDS\tPRODUCER\tFORGOTTEN UP TO\n")
	for _, group := range c.Consumers {
		start := fmt.Sprintf("%s\t%s\t%s", group.Consumer, records(group.Once), records(group.Latest))
		for _, h := range group.Producers {
			fmt.Fprintf(w, "%s\t%s\t%s\n", start, h.Producer, h.text())
			start = "\t\t"
		}
		if len(group.Producers) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\n", start)
		}
	}
}

func (l *Lease) text() string {
	switch {
	case l == nil:
		return "none has led yet"
	case l.Leading:
		return fmt.Sprintf("%s leads, lease for %s more, has read up to row %d", l.Holder, Span(time.Duration(l.Left*float64(time.Second))), l.Cursor)
	case l.Holder == "":
		return fmt.Sprintf("none leads; the last one stopped after row %d", l.Cursor)
	}
	return fmt.Sprintf("none leads; the lease of %s ended %s ago, after row %d", l.Holder, Span(time.Duration(-l.Left*float64(time.Second))), l.Cursor)
}

func (h *Horizon) text() string {
	id, err := waybill.ParseID(h.Forgotten)
	if err != nil {
		return "nothing"
	}
	return id.Time().UTC().Format("2006-01-02 15:04:05 MST")
}

func records(n *int64) string {
	if n == nil {
		return "too many to count"
	}
	return Number(*n)
}

// Name is a destination for a person.
func Name(destination string, topic bool) string {
	if topic {
		return destination + " (topic)"
	}
	return destination
}

// Number is n with its thousands apart.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func rate(r float64) string {
	if r >= 10 || r == math.Trunc(r) {
		return Number(int64(math.Round(r)))
	}
	return strconv.FormatFloat(r, 'f', 1, 64)
}

// Age is how old something is, or when it will be due.
func Age(d time.Duration) string {
	if d < -time.Second {
		return "due in " + Span(-d)
	}
	return Span(max(d, 0))
}

// Span is a time in its two greatest units.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < day:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d/day), int(d%day/time.Hour))
}

// sentence is an error of the library without the name it begins with.
func sentence(text string) string {
	const name = "waybill: "
	if len(text) > len(name) && text[:len(name)] == name {
		return text[len(name):]
	}
	return text
}
