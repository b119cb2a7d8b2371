package embedded

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Depths counts the messages that each queue and topic keeps, with those that are received
// and not settled, by their subjects. The subject of a queue is its name, that of a topic
// "topic#." and its name; docs/operate/brokers.md has the exceptions. On a server that is stopped
// it returns ErrStopped.
func (b *Broker) Depths() (map[string]int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil, ErrStopped
	}
	info, err := b.server.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Config: true})
	if err != nil {
		return nil, fmt.Errorf("embedded broker: count messages: %w", err)
	}
	depths := map[string]int{}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			for _, subject := range stream.Config.Subjects {
				depths[subject] += int(stream.State.Msgs)
			}
		}
	}
	return depths, nil
}
