package torture

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/backoff"
)

// Report is what a run came to. Its JSON form is part of Waybill's protocol.
type Report struct {
	verdict.Figures

	Sequence     int64 `json:"sequence"`
	Conservation int64 `json:"conservation"`
	Unsaved      int64 `json:"unsaved"`
	HeldUp       int64 `json:"held_up"`
	Altered      int64 `json:"altered"`
	Early        int64 `json:"early"`
	Unseen       int64 `json:"unseen"`

	Broken map[string]int64 `json:"broken,omitempty"` // the checks that found something, and how often

	Unkept     int64             `json:"unkept"`      // messages whose rows went with the broker's confirmation, and that it lost
	Foreign    int64             `json:"foreign"`     // messages of foreign producers that took effect
	Undone     int64             `json:"undone"`      // messages that were committed, and are gone since the producers' database was restored
	NotAgain   int64             `json:"not_again"`   // effects that are gone since the consumers' database was restored, and could not come again
	RolledBack int64             `json:"rolled_back"` // transactions
	Unknown    int64             `json:"unknown"`     // transactions whose producer was not told how they ended
	KeptUp     int64             `json:"kept_up"`     // effects at a topic's consumer while the other one was away
	Failures   int64             `json:"failures"`    // handlers that failed, and messages rejected, at least
	Forgotten  int64             `json:"forgotten"`   // messages rejected as too old to tell whether they took effect, at least
	Pruned     int64             `json:"pruned"`      // records forgotten, at least
	Faults     map[string]int    `json:"faults"`      // injected, by kind
	Missing    map[string]string `json:"missing,omitempty"`
	Seed       uint64            `json:"seed"`
	Seconds    float64           `json:"seconds"`
	HealTime   float64           `json:"mended_seconds"`  // from the last fault until all were at work again
	DrainTime  float64           `json:"emptied_seconds"` // and from then until the outbox was empty
	ProducerDB string            `json:"producer_db"`     // without passwords
	ConsumerDB string            `json:"consumer_db"`
	Broker     string            `json:"broker"`
	Dir        string            `json:"dir,omitempty"` // where the files are, if they are kept
	Violations []string          `json:"findings,omitempty"`
	History    []string          `json:"history,omitempty"` // of the first broken message
	GaveUp     string            `json:"gave_up,omitempty"`
	LeftBehind string            `json:"left_behind,omitempty"` // tables and queues that are still there, and why
}

// report puts together what the checker and the processes say.
func (r *run) report(ctx context.Context, v *result) (*Report, error) {
	relays, consumers := total(append([]*process{r.rogue}, r.relays...)), total(r.consumers)
	report := &Report{Figures: verdict.Figures{
		Sent: v.Sent, Applied: v.Applied, Superseded: v.Superseded,
		OK: v.ok(),

		// A relay that was killed and came back does not know which of its messages are
		// copies, and a process that is killed has not told what it did last.
		Resent:     max(relays.Copies, relays.Published-v.Sent-v.Undone, 0),
		Duplicates: consumers.Duplicates + max(consumers.Superseded-v.Superseded, 0),
	},
		Broken: v.Broken, KeptUp: r.keptUp, Unkept: v.Unkept, Foreign: v.Foreign, Undone: v.Undone, NotAgain: v.NotAgain, RolledBack: v.RolledBack, Unknown: v.Unknown,
		Failures: consumers.Failures, Forgotten: consumers.Forgotten, Pruned: consumers.Pruned,
		Faults: r.injectedSoFar(), Missing: r.missing,
		Seed: r.o.Seed, Seconds: float64(time.Since(r.began).Milliseconds()) / 1000,
		HealTime: r.healTime.Round(time.Millisecond).Seconds(), DrainTime: r.drainTime.Round(time.Millisecond).Seconds(),
		ProducerDB: address.Redact(r.o.ProducerDB), ConsumerDB: address.Redact(r.o.ConsumerDB), Broker: "embedded",
		GaveUp: r.gaveUp,
	}
	if r.o.Broker != "" {
		report.Broker = address.Redact(r.o.Broker)
	}
	for _, c := range checks {
		*c.count(report) = v.Broken[c.name]
	}
	for _, x := range v.Violations {
		report.Violations = append(report.Violations, x.check+": "+x.text)
	}
	for _, x := range v.Violations {
		lines, err := r.history(ctx, x)
		if err != nil {
			return nil, err
		}
		if report.History = lines; lines != nil {
			break
		}
	}
	return report, nil
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

// printHeader says what is about to happen.
func (r *run) printHeader() {
	broker := "the embedded broker"
	if r.o.Broker != "" {
		broker = address.Redact(r.o.Broker)
	}
	r.say("Waybill torture  seed %d, %v of %s", r.o.Seed, r.o.Duration, strings.Join(slices.Sorted(maps.Keys(r.chosen)), ", "))
	r.say("producers: %s", address.Redact(r.o.ProducerDB))
	r.say("consumers: %s", address.Redact(r.o.ConsumerDB))
	r.say("broker:    %s", broker)
	for _, name := range slices.Sorted(maps.Keys(r.missing)) {
		r.say("not broken: %s (%s)", name, r.missing[name])
	}
	r.say("%d producers, %d relays, %d consumers, one of the first and of the last foreign: each a process. Logs: %s", len(r.producers), relayCount, len(r.consumers), r.dir)
}

// showProgress shows, on a terminal, how the run gets on, until the returned function is
// called.
func (r *run) showProgress(ctx context.Context) (stop func()) {
	if !r.o.Live {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	drawing.Go(func() {
		for ctx.Err() == nil {
			faults := 0
			for _, n := range r.injectedSoFar() {
				faults += n
			}
			fmt.Fprintf(r.out, "\r\x1b[K%3.0f s: %d transactions committed, %d messages received, %d faults",
				time.Since(r.began).Seconds(), total(r.producers).Commits, total(r.consumers).Received, faults)
			backoff.Sleep(ctx, 250*time.Millisecond)
		}
		fmt.Fprint(r.out, "\r\x1b[K")
	})
	return func() {
		cancel()
		drawing.Wait()
	}
}

// printResult says what came of it.
func (r *run) printResult(p *Report) {
	r.say("")
	for _, line := range []struct {
		n    int64
		what string
	}{
		{p.Sent, "messages committed"},
		{p.Applied, "took effect"},
		{p.Superseded, "skipped, since a newer state was there"},
		{p.Resent, "copies sent beyond the first"},
		{p.Duplicates, "copies dropped"},
		{p.Unkept, "lost by a broker that was trusted (Accepted), as that goes"},
		{p.Undone, "were committed, and are gone since the producers' database was restored"},
		{p.NotAgain, "effects are gone since the consumers' database was restored, and could not come again"},
		{p.RolledBack, "transactions rolled back"},
		{p.Unknown, "transactions killed or cut inside COMMIT"},
		{p.Foreign, "foreign messages took effect"},
		{p.Failures, "handlers failed"},
		{p.KeptUp, "took effect at a topic's consumer while the other one was away"},
		{p.Pruned, "records forgotten"},
	} {
		r.say("%9d  %s", line.n, line.what)
	}
	r.say("")
	for _, f := range Faults {
		if n := p.Faults[f.Name]; n > 0 {
			r.say("%9d  %-10s %s", n, f.Name, f.What)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Missing)) {
		r.say("     none  %-10s %s", name, p.Missing[name])
	}
	r.printChecks(p)
	if p.GaveUp != "" {
		r.say("\n%s", p.GaveUp)
	}
	r.say("\nAfter the last fault all were at work again within %.1f s, and the outbox was empty %.1f s later.", p.HealTime, p.DrainTime)
	conclusion := "All promises were kept."
	if !p.OK {
		conclusion = fmt.Sprintf("A promise was broken. Logs and journals are in %s; the tables %s* are kept.", r.dir, r.prefix)
	}
	r.say("\n%s  (%.0f s, seed %d)", conclusion, p.Seconds, p.Seed)
}

// printChecks says what each check has found, and what is known of the first violation's
// message.
func (r *run) printChecks(p *Report) {
	r.say("")
	for _, c := range checks {
		r.say("%9d  %-12s %s", *c.count(p), c.name, c.what)
	}
	for _, text := range p.Violations {
		r.say("  %s", text)
	}
	if len(p.History) > 0 {
		r.say("\nThe first broken message:")
		for _, line := range p.History {
			r.say("  %s", line)
		}
	}
}
