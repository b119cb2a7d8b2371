package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/relay"
)

const (
	sampleEvery = 2 * time.Second
	samples     = 150              // five minutes
	idleTime    = 2 * time.Minute  // nobody has looked: no samples are taken
	watchers    = 100              // most pages that are kept up to date at a time
	readerTime  = 30 * time.Second // one that does not read an update for so long makes room for others
	// lookShare bounds what pages that are open cost: looking takes one part in so many of the
	// time. What a look has cost, the time that it took tells.
	lookShare = 100
	// firstTime is how long a page waits for the first look, before it says that rows are being
	// counted. So that it does not have to, the first look counts rows of one status for
	// firstCount, and later ones for countTime.
	firstTime  = 80 * time.Millisecond
	firstCount = 30 * time.Millisecond
	countTime  = 300 * time.Millisecond
)

// overview is the state of all databases.
type overview struct {
	Databases []databaseOverview `json:"databases"`
}

// databaseOverview is the state of one database.
type databaseOverview struct {
	Database string `json:"database"`
	About    string `json:"about,omitempty"`
	Dialect  string `json:"dialect"`
	// Problem is why there is nothing to tell, or nothing newer than of At; "" where there is.
	Problem string         `json:"problem,omitempty"`
	At      time.Time      `json:"at"`
	Outbox  *survey.Outbox `json:"outbox"` // null where there is none
	// OutboxProblem and InboxProblem are why a side that is there cannot be shown.
	OutboxProblem string `json:"outbox_problem,omitempty"`
	InboxProblem  string `json:"inbox_problem,omitempty"`
	// Rates are how the last minutes went, of what runs in this process.
	Rates []rate `json:"rates"`
	inbox bool
	// Counting says that the first look is not done yet: there is nothing to tell so far.
	Counting bool `json:"-"`
}

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
func (r *rate) Now() float64 {
	if len(r.Points) == 0 {
		return 0
	}
	return r.Points[len(r.Points)-1]
}

// live keeps the state of the databases for those who look: it is read while somebody looks,
// once for all of them.
type live struct {
	databases []*database
	timeout   time.Duration
	share     int // lookShare
	ended     chan struct{}
	group     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	running  bool
	looked   time.Time // when somebody last did
	watching int
	last     *overview     // the last one; not changed any more
	next     chan struct{} // closed when there is a newer one
	counters []map[string]int64
	counted  time.Time
	rates    []map[string][]float64
}

func newLive(databases []*database, timeout time.Duration) *live {
	l := &live{databases: databases, timeout: timeout, share: lookShare, ended: make(chan struct{}), next: make(chan struct{})}
	l.counters = make([]map[string]int64, len(databases))
	l.rates = make([]map[string][]float64, len(databases))
	for i := range databases {
		l.rates[i] = map[string][]float64{}
	}
	return l
}

// close ends the samples and what waits for them.
func (l *live) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.ended)
	}
	l.mu.Unlock()
	l.group.Wait()
}

// look returns the last state, and what is closed when there is a newer one. It waits for the
// first.
func (l *live) look(ctx context.Context) (*overview, <-chan struct{}, error) {
	for {
		l.mu.Lock()
		l.looked = time.Now()
		if !l.running && !l.closed {
			l.running, l.last = true, nil
			l.group.Go(l.sample)
		}
		last, next := l.last, l.next
		l.mu.Unlock()
		if last != nil {
			return last, next, nil
		}
		select {
		case <-next:
		case <-l.ended:
			return nil, nil, context.Canceled
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// counting is the state before the first look is done.
func (l *live) counting() *overview {
	o := &overview{}
	for _, d := range l.databases {
		o.Databases = append(o.Databases, databaseOverview{Database: d.Name, About: d.About, Dialect: d.Dialect.Name(), At: now(), Counting: true})
	}
	return o
}

// sample reads the state until nobody looks any more: the tables as often as lookShare allows,
// and in between what this process knows anyway.
func (l *live) sample() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	var state *overview
	var due time.Time
	for {
		l.count()
		began := time.Now()
		looks := !began.Before(due)
		if looks {
			state = l.read(ctx, state)
			due = began.Add(max(sampleEvery, time.Duration(l.share)*time.Since(began)))
		}
		state = l.withRates(state)
		l.mu.Lock()
		if looks || state.hasRates() {
			l.last = state
			close(l.next)
			l.next = make(chan struct{})
		}
		if l.closed || l.watching == 0 && time.Since(l.looked) > idleTime {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		timer := time.NewTimer(sampleEvery)
		select {
		case <-timer.C:
		case <-l.ended:
			timer.Stop()
		}
	}
}

// read reads the state of all databases side by side. Of one that does not answer it is the
// state before, with the time of that, and what is wrong.
func (l *live) read(ctx context.Context, before *overview) *overview {
	o, within := &overview{Databases: make([]databaseOverview, len(l.databases))}, countTime
	if before == nil {
		within = firstCount
	}
	var group sync.WaitGroup
	for i, d := range l.databases {
		group.Go(func() {
			asking, cancel := context.WithTimeout(ctx, l.timeout)
			defer cancel()
			state, err := d.overview(asking, within)
			if err != nil && !errors.Is(err, survey.ErrNoTables) && before != nil {
				state = before.Databases[i]
			}
			if err != nil {
				state.Problem = problemOf(err)
			}
			o.Databases[i] = state
		})
	}
	group.Wait()
	return o
}

// withRates is a state with the rates of now.
func (l *live) withRates(state *overview) *overview {
	o := &overview{Databases: slices.Clone(state.Databases)}
	for i := range o.Databases {
		o.Databases[i].Rates = l.ratesOf(i)
	}
	return o
}

func (o *overview) hasRates() bool {
	return slices.ContainsFunc(o.Databases, func(d databaseOverview) bool { return len(d.Rates) > 0 })
}

func (d *database) overview(ctx context.Context, within time.Duration) (databaseOverview, error) {
	o := databaseOverview{Database: d.Name, About: d.About, Dialect: d.Dialect.Name(), At: now()}
	sides, err := d.reader.Sides(ctx)
	if err != nil {
		return o, err
	}
	o.OutboxProblem, o.InboxProblem, o.inbox = sides.ProducerProblem, sides.ConsumerProblem, sides.Consumer
	if !sides.Producer {
		return o, nil
	}
	var stats *relay.Stats
	if d.Relay != nil {
		s := d.Relay.Stats()
		stats = &s
	}
	outbox, err := d.reader.Outbox(ctx, stats, within)
	if err == nil {
		o.Outbox, o.At = outbox, outbox.At
	}
	return o, err
}

// rateNames are the counters whose rates are shown, of a relay and of inboxes.
var rateNames = []string{"published", "confirmed", "copies", "rejected", "handled", "duplicates", "superseded", "failed"}

// countersOf are the counters of what runs in this process.
func (d *database) countersOf() map[string]int64 {
	c := map[string]int64{}
	if d.Relay != nil {
		s := d.Relay.Stats()
		c["published"], c["confirmed"], c["copies"], c["rejected"] = s.Published, s.Confirmed, s.Copies, s.Rejected
	}
	for _, in := range d.Inboxes {
		s := in.Stats()
		c["handled"] += s.Handled
		c["duplicates"] += s.Duplicates
		c["superseded"] += s.Superseded
		c["failed"] += s.Retried + s.Rejected
	}
	return c
}

// count makes rates of what the counters have gone on by.
func (l *live) count() {
	at := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	over := at.Sub(l.counted).Seconds()
	for i, d := range l.databases {
		counters := d.countersOf()
		for name, n := range counters {
			if before, ok := l.counters[i][name]; ok && over > 0 {
				points := append(l.rates[i][name], float64(n-before)/over)
				l.rates[i][name] = points[max(len(points)-samples, 0):]
			}
		}
		l.counters[i] = counters
	}
	l.counted = at
}

// ratesOf returns copies of a database's rates.
func (l *live) ratesOf(i int) []rate {
	l.mu.Lock()
	defer l.mu.Unlock()
	rates := []rate{}
	for _, name := range rateNames {
		if _, ok := l.counters[i][name]; ok {
			rates = append(rates, rate{name, append([]float64{}, l.rates[i][name]...)})
		}
	}
	return rates
}

// Sparklines are drawn into this many units, which are a minute at least.
const (
	sparkWidth, sparkHeight = 120.0, 24.0
	sparkLeast              = 30 // points
)

// sparkline is the path of a line through points, for SVG.
func sparkline(points []float64) string {
	top, all := 1.0, max(len(points), sparkLeast)
	for _, p := range points {
		top = max(top, p)
	}
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

// update is what a page that is open is told: the texts and lines of its elements by their
// data-live and data-spark.
type update struct {
	Texts  map[string]string `json:"texts"`
	Sparks map[string]string `json:"sparks"`
	States map[string]string `json:"states"` // of rows, by their data-row
	Shape  string            `json:"shape"`  // what is listed; another one is a reason to load the page again
}

// updateOf is the update that leads to a state.
func (v *view) updateOf(o *overview) update {
	u := update{Texts: map[string]string{}, Sparks: map[string]string{}, States: map[string]string{}, Shape: shapeOf(o)}
	for i := range o.Databases {
		d := &o.Databases[i]
		key := fmt.Sprint("d", i)
		u.Texts[key+".at"], u.Texts[key+".problem"] = v.clock(d.At), v.t(d.Problem)
		if d.Outbox != nil {
			u.Texts[key+".pending"], u.Texts[key+".rejected"] = d.Outbox.Pending.Text(), d.Outbox.Rejected.Text()
			u.Texts[key+".relay"] = v.say(d.Outbox.Relay.Text)
			for _, x := range v.shown(d.Outbox) {
				row := key + "." + laneKey(x)
				u.Texts[row+".pending"], u.Texts[row+".rejected"] = x.Pending.Text(), x.Rejected.Text()
				u.Texts[row+".flight"] = flightText(x)
				u.Texts[row+".latency"] = latencyText(x)
				u.Texts[row+".age"] = v.age(x)
				u.Texts[row+".why"] = v.why(x)
				u.Texts[row+".state"] = v.t(string(x.State))
				u.States[row] = string(x.State)
			}
		}
		for k := range d.Rates {
			r := &d.Rates[k]
			u.Texts[key+"."+r.Name] = rateText(r.Now())
			u.Sparks[key+"."+r.Name] = sparkline(r.Points)
		}
	}
	return u
}

// shapeOf tells two lists apart.
func shapeOf(o *overview) string {
	var b strings.Builder
	for i := range o.Databases {
		if o.Databases[i].Counting {
			return "counting"
		}
		if outbox := o.Databases[i].Outbox; outbox != nil {
			b.WriteString(fmt.Sprint(len(outbox.Destinations), " "))
		} else {
			b.WriteString("- ")
		}
	}
	return strings.TrimSpace(b.String())
}

// events sends updates of the overview, as server-sent events, until the reader goes.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	if !c.live.watch(1) {
		c.refuse(w, r, http.StatusServiceUnavailable, "Too many pages are kept up to date now. Load the page again to see what is new.")
		return
	}
	defer c.live.watch(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that would hold events back
	w.WriteHeader(http.StatusOK)
	v := c.view(w, r)
	for {
		state, next, err := c.live.look(r.Context())
		if err != nil {
			return
		}
		text, err := json.Marshal(v.updateOf(state))
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(readerTime)) // where the server can
		if _, err := fmt.Fprintf(w, "event: overview\ndata: %s\n\n", text); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-next:
		case <-c.live.ended:
			return
		case <-r.Context().Done():
			return
		}
		if c.access.user(r).Role < ReadOnly {
			return // logged out
		}
	}
}

// watch counts those who are kept up to date; false says that there are too many.
func (l *live) watch(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > 0 && (l.watching >= watchers || l.closed) {
		return false
	}
	l.watching += n
	l.looked = time.Now()
	return true
}
