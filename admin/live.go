package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

const (
	sampleEvery = 2 * time.Second
	samples     = 150              // five minutes
	idleTime    = 2 * time.Minute  // nobody has looked: no samples are taken
	watchers    = 100              // most pages that are kept up to date at a time
	watchersOne = 10               // of these, those of one user, or of one address
	readerTime  = 30 * time.Second // one that does not read an update for so long makes room for others
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
	// Problem is why there is nothing to tell; "" where there is.
	Problem string         `json:"problem,omitempty"`
	At      time.Time      `json:"at"`
	Outbox  *survey.Outbox `json:"outbox"` // null where there is none
	// OutboxProblem and InboxProblem are why a side that is there cannot be shown.
	OutboxProblem string         `json:"outbox_problem,omitempty"`
	InboxProblem  string         `json:"inbox_problem,omitempty"`
	Pauses        []survey.Pause `json:"pauses"` // at either side
	// Rates are how the last minutes went, of what runs in this process.
	Rates []rate `json:"rates"`
	// RatesNow are those of single destinations, of the busiest 300 that run in this process.
	RatesNow []destinationRate `json:"rates_by_destination"`
	// Taken are the destinations of the inboxes of this process.
	Taken []taken `json:"taken"`

	sent, handled map[laneName]*flow
}

// taken is a destination that inboxes of this process take messages from.
type taken struct {
	Destination string `json:"destination"`
	Topic       bool   `json:"topic"`
	Paused      bool   `json:"paused"`
	// Since this program started.
	Handled    int64 `json:"handled"`
	Duplicates int64 `json:"duplicates"`
	Superseded int64 `json:"superseded"`
	Failed     int64 `json:"failed"`
	Rejected   int64 `json:"rejected"`
}

// Flow is how much moves at a destination; nil where that is not known.
func (o *databaseOverview) Flow(d *survey.Destination) *flow {
	return o.sent[laneName{d.Destination, d.Topic}]
}

// TakenShown are those of Taken that are listed.
func (o *databaseOverview) TakenShown() []taken {
	return o.Taken[:min(len(o.Taken), destinationsShown)]
}

// Handling is how much is taken from a destination; nil where that is not known.
func (o *databaseOverview) Handling(t *taken) *flow {
	return o.handled[laneName{t.Destination, t.Topic}]
}

// live keeps the state of the databases for those who look: it is read while somebody looks,
// once for all of them.
type live struct {
	databases []*database
	timeout   time.Duration
	ended     chan struct{}
	group     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	running  bool
	looked   time.Time      // when somebody last did
	watching map[string]int // pages that are kept up to date, by whose they are
	last     *overview      // the last one; not changed any more
	next     chan struct{}  // closed when there is a newer one
	counted  time.Time
	rates    []databaseRates
}

// databaseRates are those of what runs of one database in this process.
type databaseRates struct {
	counters    map[string]int64
	points      map[string][]float64
	sent, taken flows
}

func newLive(databases []*database, timeout time.Duration) *live {
	l := &live{databases: databases, timeout: timeout, ended: make(chan struct{}), next: make(chan struct{}), watching: map[string]int{}}
	l.rates = make([]databaseRates, len(databases))
	for i := range databases {
		l.rates[i].points = map[string][]float64{}
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

// sample reads the state until nobody looks any more.
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
	for {
		began := time.Now()
		state := l.read(ctx)
		took := time.Since(began)
		l.mu.Lock()
		l.last = state
		close(l.next)
		l.next = make(chan struct{})
		if l.closed || len(l.watching) == 0 && time.Since(l.looked) > idleTime {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		// Looking never takes more than a twentieth of the time.
		timer := time.NewTimer(max(sampleEvery, 20*took))
		select {
		case <-timer.C:
		case <-l.ended:
			timer.Stop()
		}
	}
}

// read reads the state of all databases side by side.
func (l *live) read(ctx context.Context) *overview {
	known := l.count()
	o := &overview{Databases: make([]databaseOverview, len(l.databases))}
	var group sync.WaitGroup
	for i, d := range l.databases {
		group.Go(func() {
			asking, cancel := context.WithTimeout(ctx, l.timeout)
			defer cancel()
			o.Databases[i] = d.overview(asking, &known[i])
			l.addRates(&o.Databases[i], i)
		})
	}
	group.Wait()
	return o
}

func (d *database) overview(ctx context.Context, known *knowledge) databaseOverview {
	o := databaseOverview{Database: d.Name, About: d.About, Dialect: d.Dialect.Name(), At: now(), Pauses: []survey.Pause{}, Taken: known.taken()}
	sides, err := d.reader.Sides(ctx)
	if err != nil {
		o.Problem = problemOf(err)
		return o
	}
	o.OutboxProblem, o.InboxProblem = sides.ProducerProblem, sides.ConsumerProblem
	pauses, err := d.reader.Pauses(ctx, sides)
	if err != nil {
		o.Problem = problemOf(err)
		return o
	}
	o.Pauses = pauses
	if !sides.Producer {
		return o
	}
	if o.Outbox, err = d.reader.Outbox(ctx, known.relay); err != nil {
		o.Problem = problemOf(err)
		return o
	}
	o.Outbox.Paused(o.Pauses)
	o.At = o.Outbox.At
	return o
}

// rateNames are the counters whose rates are shown, of a relay and of inboxes.
var rateNames = []string{"published", "confirmed", "copies", "rejected", "handled", "duplicates", "superseded", "failed"}

// knowledge is what runs of a database in this process knows at one time.
type knowledge struct {
	relay   *relay.Stats // nil where there is none
	inboxes []inbox.Stats
}

func (d *database) known() knowledge {
	var k knowledge
	if d.Relay != nil {
		s := d.Relay.Stats()
		k.relay = &s
	}
	for _, in := range d.Inboxes {
		k.inboxes = append(k.inboxes, in.Stats())
	}
	return k
}

// counters are those of all destinations together.
func (k *knowledge) counters() map[string]int64 {
	c := map[string]int64{}
	if s := k.relay; s != nil {
		c["published"], c["confirmed"], c["copies"], c["rejected"] = s.Published, s.Confirmed, s.Copies, s.Rejected
	}
	for i := range k.inboxes {
		s := &k.inboxes[i]
		c["handled"] += s.Handled
		c["duplicates"] += s.Duplicates
		c["superseded"] += s.Superseded
		c["failed"] += s.Retried + s.Rejected
	}
	return c
}

// taken are the destinations of the inboxes, in order of name.
func (k *knowledge) taken() []taken {
	all, known := []taken{}, map[laneName]int{}
	for i := range k.inboxes {
		for _, d := range k.inboxes[i].Destinations {
			t := taken{d.Destination, d.Topic, d.Paused, d.Handled, d.Duplicates, d.Superseded, d.Retried, d.Rejected}
			at, is := known[laneName{t.Destination, t.Topic}]
			if !is {
				known[laneName{t.Destination, t.Topic}] = len(all)
				all = append(all, t)
				continue
			}
			x := &all[at] // of another consumer group
			x.Paused = x.Paused || t.Paused
			x.Handled += t.Handled
			x.Duplicates += t.Duplicates
			x.Superseded += t.Superseded
			x.Failed += t.Failed
			x.Rejected += t.Rejected
		}
	}
	slices.SortStableFunc(all, func(a, b taken) int { return cmp.Compare(a.Destination, b.Destination) })
	return all
}

// count makes rates of what the counters have gone on by, and returns what is known of each
// database.
func (l *live) count() []knowledge {
	known := make([]knowledge, len(l.databases))
	for i, d := range l.databases {
		known[i] = d.known()
	}
	at := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	over := at.Sub(l.counted).Seconds()
	for i := range known {
		r := &l.rates[i]
		counters := known[i].counters()
		for name, n := range counters {
			if before, ok := r.counters[name]; ok && over > 0 {
				points := append(r.points[name], float64(n-before)/over)
				r.points[name] = points[max(len(points)-samples, 0):]
			}
		}
		r.counters = counters
		if known[i].relay != nil && known[i].relay.Leading {
			r.sent.note(sentOf(known[i].relay), over)
		} else {
			r.sent = flows{}
		}
		r.taken.note(takenOf(known[i].inboxes), over)
	}
	l.counted = at
	return known
}

// addRates adds copies of a database's rates.
func (l *live) addRates(o *databaseOverview, i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.rates[i]
	o.Rates = []rate{}
	for _, name := range rateNames {
		if _, ok := r.counters[name]; ok {
			o.Rates = append(o.Rates, rate{name, append([]float64{}, r.points[name]...)})
		}
	}
	o.sent, o.handled = r.sent.copied(), r.taken.copied()
	o.RatesNow = append(ratesNow(store.Producer, o.sent), ratesNow(store.Consumer, o.handled)...)
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
func (v *view) updateOf(o *overview) *update {
	u := &update{Texts: map[string]string{}, Sparks: map[string]string{}, States: map[string]string{}, Shape: shapeOf(o)}
	for i := range o.Databases {
		d := &o.Databases[i]
		key := fmt.Sprint("d", i)
		u.Texts[key+".at"] = v.clock(d.At)
		if d.Outbox != nil {
			u.Texts[key+".pending"], u.Texts[key+".rejected"] = d.Outbox.Pending.Text(), d.Outbox.Rejected.Text()
			u.Texts[key+".relay"] = v.say(d.Outbox.Relay.Text)
			u.Texts[key+".standby"] = v.say(d.Outbox.Relay.StandbyText())
			for _, x := range v.shown(d.Outbox) {
				row := key + "." + laneKey(x)
				u.Texts[row+".pending"], u.Texts[row+".rejected"] = x.Pending.Text(), x.Rejected.Text()
				u.Texts[row+".flight"] = flightText(x)
				u.Texts[row+".latency"] = latencyText(x)
				u.Texts[row+".age"] = v.age(x)
				u.Texts[row+".why"] = v.why(x)
				u.Texts[row+".state"] = v.t(string(x.State))
				u.Texts[row+".act"] = v.act(x)
				if d.Outbox.Relay.Here {
					u.flow(v, row, store.Producer, d.Flow(x))
				}
				u.States[row] = string(x.State)
			}
		}
		for k := range d.TakenShown() {
			x := &d.Taken[k]
			row := key + "." + takenKey(x)
			for name, n := range map[string]int64{"handled": x.Handled, "duplicates": x.Duplicates, "superseded": x.Superseded, "failed": x.Failed, "rejected": x.Rejected} {
				u.Texts[row+"."+name] = survey.Count{N: n}.Text()
			}
			u.flow(v, row, store.Consumer, d.Handling(x))
		}
		for k := range d.Rates {
			r := &d.Rates[k]
			u.Texts[key+"."+r.Name] = rateText(r.Now())
			u.Sparks[key+"."+r.Name] = sparkline(r.Points)
		}
	}
	return u
}

// flow adds how much moves at one destination.
func (u *update) flow(v *view, row string, side store.Side, f *flow) {
	u.Texts[row+".flow"] = v.flowText(side, f)
	for k, line := range flowLines(f) {
		u.Sparks[row+"."+strconv.Itoa(k)] = line
	}
}

// since leaves out what was told before.
func (u *update) since(before *update) *update {
	return &update{Texts: news(u.Texts, before.Texts), Sparks: news(u.Sparks, before.Sparks), States: news(u.States, before.States), Shape: u.Shape}
}

func news(now, before map[string]string) map[string]string {
	some := map[string]string{}
	for key, text := range now {
		if old, known := before[key]; !known || old != text {
			some[key] = text
		}
	}
	return some
}

// shapeOf tells two lists apart.
func shapeOf(o *overview) string {
	var b strings.Builder
	for i := range o.Databases {
		if outbox := o.Databases[i].Outbox; outbox != nil {
			fmt.Fprint(&b, len(outbox.Destinations), outbox.Relay.Here, " ")
		} else {
			b.WriteString("- ")
		}
		for _, p := range o.Databases[i].Pauses {
			fmt.Fprint(&b, p.Since.UnixMicro(), " ")
		}
	}
	return strings.TrimSpace(b.String())
}

// events sends updates of the overview, as server-sent events, until the reader goes.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	who := watcherOf(r)
	switch own, ok := c.live.watch(who); {
	case own:
		c.refuse(w, r, http.StatusTooManyRequests, "Ten pages of yours are kept up to date already. Close one, or load this page again to see what is new.")
		return
	case !ok:
		c.refuse(w, r, http.StatusServiceUnavailable, "Too many pages are kept up to date now. Load the page again to see what is new.")
		return
	}
	defer c.live.unwatch(who)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that would hold events back
	w.WriteHeader(http.StatusOK)
	v := c.view(w, r)
	told := &update{}
	for {
		state, next, err := c.live.look(r.Context())
		if err != nil {
			return
		}
		now := v.updateOf(state)
		text, err := json.Marshal(now.since(told))
		told = now
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

// watcherOf says who is kept up to date: a user, or where several may have the name, as with a
// token, those of one address.
func watcherOf(r *http.Request) string {
	switch name := userOf(r).Name; name {
	case localName, operatorName, readerName:
	default:
		return "user " + name
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "address " + host
}

// watch counts those who are kept up to date; not ok says that there are too many, and own
// that they are who's.
func (l *live) watch(who string) (own, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := 0
	for _, n := range l.watching {
		all += n
	}
	switch {
	case l.watching[who] >= watchersOne:
		return true, false
	case all >= watchers, l.closed:
		return false, false
	}
	l.watching[who]++
	l.looked = time.Now()
	return false, true
}

// unwatch undoes a watch.
func (l *live) unwatch(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watching[who]--; l.watching[who] == 0 {
		delete(l.watching, who)
	}
	l.looked = time.Now()
}
