package torture

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/address"
)

// Report is what a run came to. Its JSON form is part of Waybill's protocol.
type Report struct {
	supervisor.Figures

	Sequence     int64 `json:"sequence"`
	Conservation int64 `json:"conservation"`
	Unsaved      int64 `json:"unsaved"`

	Unkept     int64             `json:"unkept"`      // messages whose rows went with the broker's confirmation, and that it lost
	RolledBack int64             `json:"rolled_back"` // transactions
	Unknown    int64             `json:"unknown"`     // transactions whose producer was not told how they ended
	Failures   int64             `json:"failures"`    // handlers that failed, and messages rejected, at least
	Forgotten  int64             `json:"forgotten"`   // messages rejected because nothing could tell any more, at least
	Pruned     int64             `json:"pruned"`      // records forgotten, at least
	Faults     map[string]int    `json:"faults"`      // injected, by kind
	Missing    map[string]string `json:"missing,omitempty"`
	Seed       uint64            `json:"seed"`
	Seconds    float64           `json:"seconds"`
	Mended     float64           `json:"mended_seconds"`  // after the storm, until all were at work again
	Emptied    float64           `json:"emptied_seconds"` // and from then until the outbox was empty
	ProducerDB string            `json:"producer_db"`     // without passwords
	ConsumerDB string            `json:"consumer_db"`
	Broker     string            `json:"broker"`
	Dir        string            `json:"dir,omitempty"` // where the files are, if they are kept
	Findings   []string          `json:"findings,omitempty"`
	History    []string          `json:"history,omitempty"` // of the first broken message
	GaveUp     string            `json:"gave_up,omitempty"`
	LeftBehind string            `json:"left_behind,omitempty"` // tables and queues that are still there, and why
}

// report puts together what the verdict and the parts say.
func (r *run) report(ctx context.Context, v *verdict) (*Report, error) {
	relays, consumers := said(append([]*member{r.rebel}, r.relays...)), said(r.consumers)
	report := &Report{Figures: supervisor.Figures{
		Sent: v.Sent, Applied: v.Applied, Superseded: v.Superseded,
		Lost: v.Broken["lost"], Doubled: v.Broken["doubled"], Stale: v.Broken["stale"], Phantom: v.Broken["phantom"],
		Leftover: v.Broken["leftover"], OK: v.ok(),

		// A relay that was killed and came back does not know which of its messages are
		// copies, and what a part did in the moment before it was killed it could not tell.
		Resent:     max(relays.Copies, relays.Published-v.Sent, 0),
		Duplicates: consumers.Duplicates + max(consumers.Superseded-v.Superseded, 0),
	},
		Sequence: v.Broken["sequence"], Conservation: v.Broken["conservation"], Unsaved: v.Broken["unsaved"],
		Unkept: v.Unkept, RolledBack: v.RolledBack, Unknown: v.Unknown,
		Failures: consumers.Failures, Forgotten: consumers.Forgotten, Pruned: consumers.Pruned,
		Faults: r.injectedSoFar(), Missing: r.missing,
		Seed: r.o.Seed, Seconds: float64(time.Since(r.began).Milliseconds()) / 1000,
		Mended: r.mended.Round(time.Millisecond).Seconds(), Emptied: r.emptied.Round(time.Millisecond).Seconds(),
		ProducerDB: address.Redact(r.o.ProducerDB), ConsumerDB: address.Redact(r.o.ConsumerDB), Broker: "embedded",
		GaveUp: r.gaveUp,
	}
	if r.o.Broker != "" {
		report.Broker = address.Redact(r.o.Broker)
	}
	for _, f := range v.Findings {
		report.Findings = append(report.Findings, f.checker+": "+f.text)
	}
	for _, f := range v.Findings {
		lines, err := r.history(ctx, f)
		if err != nil {
			return nil, err
		}
		if report.History = lines; lines != nil {
			break
		}
	}
	return report, nil
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.o.Out, format+"\n", args...) }

// prologue says what is about to happen.
func (r *run) prologue() {
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
	r.say("%d producers, %d relays, %d consumers: each a process. Logs: %s", producerCount, relayCount, len(r.consumers), r.dir)
}

// liven shows, on a terminal, how the run gets on, until the returned function is
// called.
func (r *run) liven(ctx context.Context) (stop func()) {
	if !r.o.Live {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	drawing.Go(func() {
		for ctx.Err() == nil {
			total := 0
			for _, n := range r.injectedSoFar() {
				total += n
			}
			fmt.Fprintf(r.o.Out, "\r\x1b[K%3.0f s: %d transactions committed, %d messages received, %d faults",
				time.Since(r.began).Seconds(), said(r.producers).Commits, said(r.consumers).Received, total)
			sleep(ctx, 250*time.Millisecond)
		}
		fmt.Fprint(r.o.Out, "\r\x1b[K")
	})
	return func() {
		cancel()
		drawing.Wait()
	}
}

// epilogue says what came of it.
func (r *run) epilogue(p *Report) {
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
		{p.RolledBack, "transactions rolled back"},
		{p.Unknown, "transactions killed or cut inside COMMIT"},
		{p.Failures, "handlers failed"},
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
	r.say("")
	broken := map[string]int64{
		"lost": p.Lost, "doubled": p.Doubled, "stale": p.Stale, "phantom": p.Phantom,
		"leftover": p.Leftover, "sequence": p.Sequence, "conservation": p.Conservation, "unsaved": p.Unsaved,
	}
	for _, c := range Checkers {
		r.say("%9d  %-12s %s", broken[c.Name], c.Name, c.What)
	}
	for _, text := range p.Findings {
		r.say("  %s", text)
	}
	if len(p.History) > 0 {
		r.say("\nThe first broken message:")
		for _, line := range p.History {
			r.say("  %s", line)
		}
	}
	if p.GaveUp != "" {
		r.say("\n%s", p.GaveUp)
	}
	r.say("\nAfter the storm all were at work again within %.1f s, and the outbox was empty %.1f s later.", p.Mended, p.Emptied)
	word := "All promises were kept."
	if !p.OK {
		word = fmt.Sprintf("A promise was broken. Logs and journals are in %s; the tables %s* are kept.", r.dir, r.prefix)
	}
	r.say("\n%s  (%.0f s, seed %d)", word, p.Seconds, p.Seed)
}
