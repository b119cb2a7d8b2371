package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// run is one torture under way.
type run struct {
	o      Options
	name   string // of this run, in names of tables and queues
	prefix string
	dir    string
	chosen selection
	began  time.Time

	started bool // there are processes, and what they make at the broker
	fail    context.CancelCauseFunc

	producerBooks, consumerBooks *books
	producers, relays, consumers []*member
	rebel, broker                *member // broker: nil where it is a server
	wires                        []*wire
	brokerAddr                   string

	telling sync.Mutex // held while a setting is changed and told; taken before mu

	mu       sync.Mutex
	setting  setting
	events   []event
	log      io.Writer         // gets the events
	injected map[string]int    // by fault
	missing  map[string]string // faults that cannot be, with the reason
	trouble  error             // of the user's commands
	gaveUp   string            // what still waited when patience was at its end
	mended   time.Duration     // how long it took until all was whole and at work again
	emptied  time.Duration     // and from then until the outbox was empty
}

// member is one part.
type member = supervisor.Member[errand, word]

const (
	producerCount = 3
	relayCount    = 2
	consumerCount = 2 // of each group that takes from queues
)

// retention is short, so that forgetting is at work all the time; with a clock that is
// an hour off, ages are judged wrongly by that hour.
const (
	retention       = 5 * time.Second
	skewedRetention = 2*skew + retention
	skew            = time.Hour
)

// cast makes the parts and the wires between them.
func (r *run) cast(ctx context.Context) error {
	r.injected = map[string]int{}
	r.brokerAddr = r.o.Broker
	if r.brokerAddr == "" {
		var err error
		if r.brokerAddr, err = supervisor.BrokerAddress(ctx); err != nil {
			return err
		}
		r.broker = r.part("broker", errand{Part: brokerPart, Broker: r.brokerAddr, Dir: r.brokerDir(), MaxStore: maxStore})
	}
	var addrs [5]string
	for i, x := range []struct{ name, addr string }{
		{"producers' database", r.o.ProducerDB}, {"relays' database", r.o.ProducerDB}, {"consumers' database", r.o.ConsumerDB},
		{"relays' broker", r.brokerAddr}, {"consumers' broker", r.brokerAddr},
	} {
		addrs[i] = x.addr
		if !r.chosen["network"] {
			continue
		}
		w, through, reason, err := tap(ctx, x.name, x.addr)
		if err != nil {
			return err
		}
		if w == nil {
			r.missing["network: "+x.name] = reason
			continue
		}
		r.wires, addrs[i] = append(r.wires, w), through
	}
	for fault := range r.chosen {
		if reason := r.impossible(fault); reason != "" {
			r.missing[fault] = reason
		}
	}
	retain := retention
	if r.chosen["clock"] || r.brokerIsTrusted() {
		retain = skewedRetention
	}
	common := errand{Run: r.name, Prefix: r.prefix, Destinations: destinationsOf(r.name), Pace: r.o.Pace, Transfers: r.o.Transfers, Topic: r.topic(), Retain: retain}
	if r.broker != nil {
		common.Dir = r.brokerDir()
	}
	for i := range producerCount {
		e := common
		e.Part, e.Database = producerPart, addrs[0]
		r.producers = append(r.producers, r.part(fmt.Sprint("producer-", i+1), e))
	}
	for i := range relayCount + 1 {
		e := common
		e.Part, e.Database, e.Broker = relayPart, addrs[1], addrs[3]
		if i == relayCount {
			e.Rebel = true
			r.rebel = r.part("rebel", e)
			break
		}
		r.relays = append(r.relays, r.part(fmt.Sprint("relay-", i+1), e))
	}
	consumer := func(name, group string) {
		e := common
		e.Part, e.Database, e.Broker, e.Group = consumerPart, addrs[2], addrs[4], group
		r.consumers = append(r.consumers, r.part(name, e))
	}
	for i := range consumerCount {
		consumer(fmt.Sprint(onceGroup, "-", i+1), onceGroup)
		consumer(fmt.Sprint(latestGroup, "-", i+1), latestGroup)
	}
	if r.topic() {
		for _, group := range topicGroups { // not every broker lets several share a topic
			consumer(group, group)
		}
	}
	return nil
}

// topic says that some orders go to a topic. With even seeds none do: a relay that
// counts consumers looks at all receipts in another way, and rows that wait for two hold
// the floor up in a storm, so that little is forgotten.
func (r *run) topic() bool { return r.o.Seed%2 == 1 }

// brokerIsTrusted says that nothing in this run makes the broker lose what it has
// confirmed. Only then notices have to arrive, whose rows go with its confirmation;
// they hold no floor, so that then nothing may be forgotten early.
//
// A server whose disk is full may lose some of that (NATS 2.9.10 did), and the embedded
// broker does not: it knows how much it may store.
func (r *run) brokerIsTrusted() bool {
	strikes := func(fault string) bool { return r.chosen[fault] && r.impossible(fault) == "" }
	return !strikes("messages") && !strikes("wipe") && (r.broker != nil || !strikes("disk"))
}

func (r *run) brokerDir() string { return filepath.Join(r.dir, "broker") }

// part makes a part whose every process is told e, and what the storm has set.
func (r *run) part(name string, e errand) *member {
	e.Name = name
	return &member{
		Name:    name,
		Command: r.o.Command,
		LogPath: filepath.Join(r.dir, name+".log"),
		Failed:  func(err error) { r.fail(err) },
		Errand: func(life uint64) errand {
			e := e
			e.Life = life
			e.Name = fmt.Sprintf("%s.%d", name, life)
			e.Seed = r.o.Seed ^ hash(e.Name)
			if e.Part == producerPart {
				e.Journal = filepath.Join(r.dir, e.Name+".journal")
				if r.chosen["clock"] && name == "producer-1" {
					// Each of its processes has the clock wrong in its own way.
					e.Skew = skew
					if e.Seed%2 == 0 {
						e.Skew = -skew
					}
					r.count("clock")
				}
			}
			return r.settled(e)
		},
	}
}

// all are the parts that are always there, the broker first.
func (r *run) all() []*member {
	var all []*member
	if r.broker != nil {
		all = append(all, r.broker)
	}
	return slices.Concat(all, r.producers, r.relays, r.consumers)
}

// startAll starts the parts that are down, and waits until all work: of the relays
// one leads.
func (r *run) startAll(ctx context.Context) error {
	leads := func() bool { return slices.ContainsFunc(r.relays, isReady) }
	for _, m := range r.all() {
		m.Resume()
		if err := m.Start(); err != nil {
			return err
		}
	}
	for _, m := range r.all() {
		ready := func() bool { return isReady(m) }
		if slices.Contains(r.relays, m) {
			ready = leads
		}
		ok, err := supervisor.Within(ctx, r.o.Patience, ready)
		if err == nil && !ok {
			err = fmt.Errorf("the %s is not at work after %v\n%s", m.Name, r.o.Patience, m.Tail())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isReady(m *member) bool {
	now, there := m.Now()
	return there && now.Ready
}

// kill ends the parts that are left, in whatever state the run is.
func (r *run) kill() {
	parts := r.all()
	if r.rebel != nil {
		parts = append(parts, r.rebel)
	}
	for _, m := range parts {
		m.Kill()
	}
}

// end closes what the run has opened.
func (r *run) end() {
	for _, w := range r.wires {
		w.Close()
	}
	for _, b := range []*books{r.producerBooks, r.consumerBooks} {
		if b != nil {
			_ = b.Close()
		}
	}
}

// said sums up what some parts have told.
func said(members []*member) (sum word) {
	for _, m := range members {
		sum = sum.Add(m.Said())
	}
	return sum
}

func (r *run) count(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injected[fault]++
}

// troubled ends the run because of a user's command that failed, and remembers that a
// server may be down, which an interruption must not hide.
func (r *run) troubled(err error) {
	r.note("%v", err)
	r.mu.Lock()
	r.trouble = errors.Join(r.trouble, err)
	r.mu.Unlock()
	r.fail(err)
}

// event is something that the storm did.
type event struct {
	at   time.Time
	text string
}

// note notes what happens, for a history.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := event{time.Now(), fmt.Sprintf(format, args...)}
	r.events = append(r.events, e)
	if r.log != nil {
		fmt.Fprintf(r.log, "%s %s\n", r.clock(e.at), e.text)
	}
}

// injectedSoFar is a copy of the counts.
func (r *run) injectedSoFar() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.injected)
}

// setting is what the storm has set for parts that may be killed and come back.
type setting struct {
	relays, consumers weather
	mood              moods
}

// set changes the setting, and tells the parts of a kind.
func (r *run) set(part string, members []*member, change func(*setting)) {
	r.telling.Lock() // or parts might hear of an older setting last
	defer r.telling.Unlock()
	r.mu.Lock()
	change(&r.setting)
	r.mu.Unlock()
	e := r.settled(errand{Part: part})
	for _, m := range members {
		m.Tell(e)
	}
}

// settled adds the setting to what a process is told.
func (r *run) settled(e errand) errand {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Part {
	case relayPart:
		w := r.setting.relays
		e.Weather = &w
	case consumerPart:
		w, mood := r.setting.consumers, r.setting.mood
		e.Weather, e.Mood = &w, &mood
	}
	return e
}
