package survey

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Consumer is what the tables tell of one consumer group.
type Consumer struct {
	Consumer  string     `json:"consumer"`
	Producers []Producer `json:"producers"`
	Kept      Count      `json:"kept"`    // messages that it keeps for a person
	Waiting   Count      `json:"waiting"` // messages that it keeps and is to handle again
}

// Producer is what a consumer knows of one producer.
type Producer struct {
	Producer string `json:"producer"`
	// Forgotten is the time up to which records are forgotten; null where none are.
	Forgotten *time.Time `json:"forgotten_up_to"`
	// Floor is the time of the oldest message that the producer may still send, as far as it
	// has told: the consumer knew it to be that far behind at most.
	Floor *time.Time `json:"floor"`
}

// KeptMessage is a message that a consumer keeps.
type KeptMessage struct {
	Consumer string `json:"consumer"`
	Summary
}

// Consumers are the consumer groups of the database.
type Consumers struct {
	Consumers []Consumer    `json:"consumers"`
	Kept      []KeptMessage `json:"kept"` // the oldest 100 that they keep
}

// keptShown is how many kept messages are listed.
const keptShown = 100

// Consumers reads what the tables tell of the consumer groups. It looks at the oldest 10,000
// messages that they keep.
func (r *Reader) Consumers(ctx context.Context) (*Consumers, error) {
	names, err := store.Consumers(ctx, r.db, r.dialect, r.prefix)
	if err != nil {
		return nil, err
	}
	byName := map[string]*Consumer{}
	at := func(name string) *Consumer {
		if byName[name] == nil {
			byName[name] = &Consumer{Consumer: name, Producers: []Producer{}}
		}
		return byName[name]
	}
	for _, name := range names {
		if at(name).Producers, err = r.producers(ctx, name); err != nil {
			return nil, err
		}
	}
	all := &Consumers{Consumers: []Consumer{}, Kept: []KeptMessage{}}
	kept, more, err := r.keeper.Tally(ctx, lookLimit)
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		if k.Status == store.Rejected {
			at(k.Consumer).Kept.N += k.Rows
		} else {
			at(k.Consumer).Waiting.N += k.Rows
		}
	}
	rows, err := r.keeper.Glance(ctx, 0, keptShown)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		all.Kept = append(all.Kept, KeptMessage{rows[i].Consumer, summarizeKept(&rows[i])})
	}
	for _, c := range byName {
		c.Kept.More, c.Waiting.More = more, more
		all.Consumers = append(all.Consumers, *c)
	}
	slices.SortFunc(all.Consumers, func(a, b Consumer) int { return cmp.Compare(a.Consumer, b.Consumer) })
	return all, nil
}

func (r *Reader) producers(ctx context.Context, consumer string) ([]Producer, error) {
	ledger, err := store.NewLedger(r.db, r.dialect, r.prefix, consumer)
	if err != nil {
		return nil, err
	}
	defer ledger.CloseIdle()
	known, err := ledger.Horizons(ctx)
	if err != nil {
		return nil, err
	}
	producers := make([]Producer, 0, len(known))
	for _, h := range known {
		producers = append(producers, Producer{strings.TrimSuffix(h.Producer, "."), timeOf(h.ID), timeOf(h.Floor)})
	}
	return producers, nil
}

func timeOf(id waybill.ID) *time.Time {
	if id.IsZero() {
		return nil
	}
	at := id.Time().UTC()
	return &at
}
