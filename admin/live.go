package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"
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
	// lookShare bounds what pages that are open cost: looking takes one part in so many of the
	// time. What a look has cost, the time that it took tells.
	lookShare = 100
	// lookAtLeast is how long there is no look at most, whatever one costs.
	lookAtLeast = 30 * time.Second
	// firstTime is how long a page waits for the first look, before it says that rows are being
	// counted, and looks at rejected messages, before it offers to look at more. So that it does not have to, the first look counts rows of one status for
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
	inbox         bool
	// Counting says that the first look is not done yet: there is nothing to tell so far.
	Counting bool `json:"-"`
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
	Failed     int64 `json:"failed"` // attempts that are made again; those after which a message was rejected are not in it
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
	share     int // lookShare
	ended     chan struct{}
	group     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	running  bool
	looked   time.Time      // when somebody last did
	watching map[string]int // pages that are kept up to date, by whose they are
	dueNow   bool           // something was changed here: the next sample looks
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
	return &live{databases: databases, timeout: timeout, share: lookShare, ended: make(chan struct{}), next: make(chan struct{}), watching: map[string]int{}}
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
			l.rates = make([]databaseRates, len(l.databases)) // older points do not join those that come
			for i := range l.rates {
				l.rates[i].points = map[string][]float64{}
			}
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

// lookSoon has the next sample look, after something was changed.
func (l *live) lookSoon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dueNow = true
}

// isDue says whether the next look is due, and takes what lookSoon has asked for.
func (l *live) isDue(now, due time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := l.dueNow
	l.dueNow = false
	return asked || !now.Before(due)
}

// nextLook is when the next look is due after one that took a time.
func (l *live) nextLook(began time.Time, took time.Duration) time.Time {
	return began.Add(min(max(sampleEvery, time.Duration(l.share)*took), lookAtLeast))
}

// counting is the state before the first look is done.
func (l *live) counting() *overview {
	o := &overview{}
	for _, d := range l.databases {
		o.Databases = append(o.Databases, databaseOverview{Database: d.Name, About: d.About, Dialect: d.Dialect.Name(), At: now(), Counting: true, Pauses: []survey.Pause{}, Taken: []taken{}})
	}
	return o
}

// sample reads the state until nobody looks any more: the tables as often as lookShare and
// lookAtLeast say, and in between what this process knows anyway.
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
		known := l.count()
		began := time.Now()
		looks := l.isDue(began, due)
		if looks {
			state = l.read(ctx, state, known)
			due = l.nextLook(began, time.Since(began))
		}
		state = l.withRates(state, known)
		l.mu.Lock()
		if looks || state.hasRates() {
			l.last = state
			close(l.next)
			l.next = make(chan struct{})
		}
		if l.closed || len(l.watching) == 0 && time.Since(l.looked) > idleTime {
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
func (l *live) read(ctx context.Context, before *overview, known []knowledge) *overview {
	o, within := &overview{Databases: make([]databaseOverview, len(l.databases))}, countTime
	if before == nil {
		within = firstCount
	}
	var group sync.WaitGroup
	for i, d := range l.databases {
		group.Go(func() {
			asking, cancel := context.WithTimeout(ctx, l.timeout)
			defer cancel()
			state, err := d.overview(asking, &known[i], within)
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

// withRates is a state with what this process knows now.
func (l *live) withRates(state *overview, known []knowledge) *overview {
	o := &overview{Databases: slices.Clone(state.Databases)}
	for i := range o.Databases {
		o.Databases[i].Taken = known[i].taken()
		l.addRates(&o.Databases[i], i)
	}
	return o
}

func (o *overview) hasRates() bool {
	return slices.ContainsFunc(o.Databases, func(d databaseOverview) bool { return len(d.Rates) > 0 })
}

func (d *database) overview(ctx context.Context, known *knowledge, within time.Duration) (databaseOverview, error) {
	o := databaseOverview{Database: d.Name, About: d.About, Dialect: d.Dialect.Name(), At: now(), Pauses: []survey.Pause{}}
	sides, err := d.reader.Sides(ctx)
	if err != nil {
		return o, err
	}
	o.OutboxProblem, o.InboxProblem, o.inbox = sides.ProducerProblem, sides.ConsumerProblem, sides.Consumer
	pauses, err := d.reader.Pauses(ctx, sides)
	if err != nil {
		return o, err
	}
	o.Pauses = pauses
	if !sides.Producer {
		return o, nil
	}
	outbox, err := d.reader.Outbox(ctx, known.relay, within)
	if err == nil {
		outbox.Paused(o.Pauses)
		o.Outbox, o.At = outbox, outbox.At
	}
	return o, err
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
