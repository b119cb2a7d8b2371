package status

import (
	"context"
	"time"
)

// Wait is why the messages of one destination, or of all, wait.
type Wait struct {
	Destination string    `json:"destination,omitempty"` // none for all
	Topic       bool      `json:"topic,omitempty"`
	Since       time.Time `json:"since"`
	Why         string    `json:"why"`
}

const noLeader = "no relay leads: does one run ('waybill relay', or relay.Run in a service), and does it reach this database?"

// waits returns what the relay that leads has noted, and where none leads, that.
func (r *Reader) waits(ctx context.Context, report *Report) ([]Wait, error) {
	p := &report.Producer
	if p.Relay == nil || !p.Relay.Leading {
		if p.Pending == 0 {
			return nil, nil
		}
		return []Wait{{Since: r.leaderless(report), Why: noLeader}}, nil
	}
	noted, err := r.queue.Waits(ctx)
	if err != nil {
		return nil, err
	}
	var all []Wait
	for _, w := range noted {
		all = append(all, Wait{Destination: w.Destination, Topic: w.Topic, Since: report.At.Add(-w.Since).Truncate(time.Millisecond), Why: w.Why})
	}
	return all, nil
}

// leaderless is since when messages wait for a relay, as far as that is known: since the last
// lease ended, or since the first of them was sent.
func (r *Reader) leaderless(report *Report) time.Time {
	p := &report.Producer
	since := report.At
	for _, d := range p.Destinations {
		if sent := report.At.Add(-time.Duration(d.OldestAge * float64(time.Second))); d.Status == "pending" && sent.Before(since) {
			since = sent
		}
	}
	if p.Relay != nil && p.Relay.Left < 0 {
		if ended := report.At.Add(time.Duration(p.Relay.Left * float64(time.Second))); ended.After(since) {
			since = ended
		}
	}
	return since.Truncate(time.Millisecond)
}
