package admin

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// rate is how often something has happened a second: in Points, the oldest first, 2 seconds
// each.
type rate struct {
	Name   string    `json:"name"`
	Points []float64 `json:"points"`
}

// Label is the Name for people.
func (r *rate) Label() string { return rateLabels[r.Name] }

var rateLabels = map[string]string{
	"published": "Sent", "confirmed": "Confirmed", "copies": "Sent once more", "rejected": "Being rejected",
	"handled": "Handled", "duplicates": "Duplicates", "superseded": "Stale states skipped", "failed": "Failing",
}

// Now is the last point.
func (r *rate) Now() float64 { return last(r.Points) }

func last(points []float64) float64 {
	if len(points) == 0 {
		return 0
	}
	return points[len(points)-1]
}

// What is counted of one destination, in the order of the rates in a flow: of a relay's, that
// were sent, confirmed, sent once more and rejected; of an inbox's, that were handled, were
// duplicates, were superseded and have failed.
const (
	kinds       = 4
	flowsMost   = 300 // destinations of a side whose rates are remembered: the busiest
	flowSamples = 60  // two minutes
)

// laneName is a destination's name and type.
type laneName struct {
	name  string
	topic bool
}

// flow is how often something has happened at one destination: points of each kind, the oldest
// first.
type flow [kinds][]float64

// busy is how much has happened in all.
func (f *flow) busy() (all float64) {
	for k := range f {
		for _, p := range f[k] {
			all += p
		}
	}
	return all
}

// flows are those of the destinations of one side of a database, which the relay, or the
// inboxes, of this process know.
type flows struct {
	before map[laneName][kinds]int64 // as counted last; nil before the first time
	of     map[laneName]*flow        // of the busiest, flowsMost of them
}

// note makes points of what was counted, over seconds since the last time.
func (x *flows) note(now map[laneName][kinds]int64, over float64) {
	before := x.before
	x.before = now
	if before == nil || over <= 0 {
		return
	}
	if x.of == nil {
		x.of = map[laneName]*flow{}
	}
	type newcomer struct {
		lane laneName
		rate [kinds]float64
		busy float64
	}
	var come []newcomer
	for lane, counted := range now {
		n := newcomer{lane: lane}
		for k := range counted {
			more := counted[k] - before[lane][k]
			if more < 0 {
				more = counted[k] // it counts anew
			}
			n.rate[k] = float64(more) / over
			n.busy += n.rate[k]
		}
		if f := x.of[lane]; f != nil {
			f.add(n.rate)
		} else if n.busy > 0 {
			come = append(come, n)
		}
	}
	for lane, f := range x.of {
		if _, is := now[lane]; !is {
			f.add([kinds]float64{})
		}
		if f.busy() == 0 {
			delete(x.of, lane)
		}
	}
	// The busiest newcomers take the places of those that are less busy.
	slices.SortFunc(come, func(a, b newcomer) int {
		return cmp.Or(cmp.Compare(b.busy, a.busy), cmp.Compare(a.lane.name, b.lane.name))
	})
	come = come[:min(len(come), flowsMost)]
	var idle []laneName // the least busy first, where there is no room
	if len(x.of)+len(come) > flowsMost {
		busy := make(map[laneName]float64, len(x.of))
		for lane, f := range x.of {
			idle = append(idle, lane)
			busy[lane] = f.busy()
		}
		slices.SortFunc(idle, func(a, b laneName) int { return cmp.Or(cmp.Compare(busy[a], busy[b]), cmp.Compare(a.name, b.name)) })
	}
	for _, n := range come {
		if len(x.of) >= flowsMost {
			if x.of[idle[0]].busy() >= n.busy {
				return
			}
			delete(x.of, idle[0])
			idle = idle[1:]
		}
		f := &flow{}
		f.add(n.rate)
		x.of[n.lane] = f
	}
}

func (f *flow) add(rates [kinds]float64) {
	for k := range f {
		f[k] = append(f[k], rates[k])
		f[k] = f[k][max(len(f[k])-flowSamples, 0):]
	}
}

// copied returns copies of the flows.
func (x *flows) copied() map[laneName]*flow {
	all := make(map[laneName]*flow, len(x.of))
	for lane, f := range x.of {
		var one flow
		for k := range f {
			one[k] = slices.Clone(f[k])
		}
		all[lane] = &one
	}
	return all
}

// sentOf is what a relay has counted of its destinations.
func sentOf(s *relay.Stats) map[laneName][kinds]int64 {
	all := map[laneName][kinds]int64{}
	for i := range s.Destinations {
		d := &s.Destinations[i]
		all[laneName{d.Destination, d.Topic}] = [kinds]int64{d.Published, d.Confirmed, d.Copies, d.Rejected}
	}
	return all
}

// takenOf is what inboxes have counted of their destinations.
func takenOf(inboxes []inbox.Stats) map[laneName][kinds]int64 {
	all := map[laneName][kinds]int64{}
	for i := range inboxes {
		for _, d := range inboxes[i].Destinations {
			n := all[laneName{d.Destination, d.Topic}]
			for k, more := range [kinds]int64{d.Handled, d.Duplicates, d.Superseded, d.Retried + d.Rejected} {
				n[k] += more
			}
			all[laneName{d.Destination, d.Topic}] = n
		}
	}
	return all
}

// destinationRate is how often something happens a second at one destination now.
type destinationRate struct {
	Side        store.Side `json:"side"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Name        string     `json:"name"`
	PerSecond   float64    `json:"per_second"`
}

var flowNames = map[store.Side][kinds]string{
	store.Producer: {"published", "confirmed", "copies", "rejected"},
	store.Consumer: {"handled", "duplicates", "superseded", "failed"},
}

// ratesNow are the last points of flows, in order of name.
func ratesNow(side store.Side, flows map[laneName]*flow) []destinationRate {
	all := make([]destinationRate, 0, kinds*len(flows))
	for lane, f := range flows {
		for k, name := range flowNames[side] {
			all = append(all, destinationRate{side, lane.name, lane.topic, name, last(f[k])})
		}
	}
	slices.SortStableFunc(all, func(a, b destinationRate) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(strconv.FormatBool(a.Topic), strconv.FormatBool(b.Topic)))
	})
	return all
}

// flowText is what a flow's last points say, which its lines show.
func (v *view) flowText(side store.Side, f *flow) string {
	if f == nil {
		return "–"
	}
	var now [kinds]string
	quiet := true
	for k := range f {
		now[k] = rateText(last(f[k]))
		quiet = quiet && last(f[k]) == 0
	}
	if quiet {
		return v.t("nothing now")
	}
	formats := [kinds]string{v.t("%s sent", now[0]), v.t("%s confirmed", now[1]), v.t("%s sent once more", now[2]), v.t("%s rejected", now[3])}
	if side == store.Consumer {
		formats = [kinds]string{v.t("%s handled", now[0]), v.t("%s duplicates", now[1]), v.t("%s stale", now[2]), v.t("%s failing", now[3])}
	}
	var parts []string
	for k := range formats {
		if last(f[k]) > 0 || k == 0 || k == 1 && side == store.Producer {
			parts = append(parts, formats[k])
		}
	}
	return strings.Join(parts, " · ")
}

// flowLines are the paths of a flow's lines, all to one scale; "" where there is none.
func flowLines(f *flow) (lines [kinds]string) {
	if f == nil {
		return lines
	}
	top := 1.0
	for k := range f {
		for _, p := range f[k] {
			top = max(top, p)
		}
	}
	for k := range f {
		// What has not happened has no line, but for the first, which shows that nothing does.
		if k == 0 || slices.ContainsFunc(f[k], func(p float64) bool { return p > 0 }) {
			lines[k] = line(f[k], top)
		}
	}
	return lines
}

// Sparklines are drawn into this many units, which are a minute at least.
const (
	sparkWidth, sparkHeight = 120.0, 24.0
	sparkLeast              = 30 // points
)

// sparkline is the path of a line through points, for SVG, to a scale of its own.
func sparkline(points []float64) string {
	top := 1.0
	for _, p := range points {
		top = max(top, p)
	}
	return line(points, top)
}

func line(points []float64, top float64) string {
	all := max(len(points), sparkLeast)
	var b strings.Builder
	for i, p := range points {
		x := sparkWidth * float64(all-len(points)+i) / float64(all-1)
		y := sparkHeight - 1 - (sparkHeight-2)*max(p, 0)/top
		b.WriteString(map[bool]string{true: "M", false: "L"}[i == 0])
		b.WriteString(strconv.FormatFloat(x, 'f', 1, 64) + " " + strconv.FormatFloat(y, 'f', 1, 64))
	}
	return b.String()
}

// rateText is a rate as a person reads it.
func rateText(r float64) string {
	if r > 0 && r < 10 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return survey.Count{N: int64(r + 0.5)}.Text()
}
