package store

import (
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Source is the name under which a message's records, floors and horizons are kept. With
// a receipt queue that an outbox's identity is part of, it is "<producer>.<identity>", as
// that queue's name has it, so that whoever only knows the producer's name can have
// nothing of it forgotten. What comes from a topic has a source of its own then,
// "<producer>.<identity>.sub": the outbox may not wait for this consumer, so that its
// messages are forgotten later, and a horizon is everybody's who shares the consumer's
// name. A message has one destination, so its copies have one source. For all
// others it is "<producer>.". Version 1 had the producer's name alone; nothing is written
// under that any more.
func Source(producer, receiptTo string, topic bool) string {
	if mutant.ForgetByName {
		return producer
	}
	name, ok := strings.CutPrefix(receiptTo, waybill.ReceiptPrefix)
	if !ok || kindOf(name) != identified {
		return producer + "."
	}
	if topic {
		return name + subscription
	}
	return name
}

// subscription ends the source of what comes from an outbox's topics. With it, the longest
// source is as long as the longest receipt queue's name.
const subscription = ".sub"

// sourceKind tells the four forms of a source's name.
type sourceKind int

const (
	plain      sourceKind = iota // "shop": of version 1
	anonymous                    // "shop."
	identified                   // "shop.7q3mk2xw9d4hznsb6t5vfc8a"
	subscribed                   // "shop.7q3mk2xw9d4hznsb6t5vfc8a.sub"
)

func kindOf(source string) sourceKind {
	if outbox, ok := strings.CutSuffix(source, subscription); ok && kindOf(outbox) == identified {
		return subscribed
	}
	dot := strings.LastIndexByte(source, '.')
	switch {
	case dot < 0:
		return plain
	case dot == len(source)-1:
		return anonymous
	case dot > 0 && isIdentity(source[dot+1:]):
		return identified
	}
	return plain
}

// isIdentity reports whether name has the form of an outbox's identity.
func isIdentity(name string) bool {
	return len(name) >= 16 && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// outboxOf is the outbox, with its identity, of an identified or subscribed source.
func outboxOf(source string) string { return strings.TrimSuffix(source, subscription) }

// producerOf is the producer's name in a source's.
func producerOf(source string) string {
	switch kindOf(source) {
	case plain:
		return source
	case subscribed:
		source = outboxOf(source)
	}
	return source[:strings.LastIndexByte(source, '.')]
}

// sourcesOf are the sources whose horizons count for a message of this one: its own, and
// that of version 1, under which an earlier copy may have been recorded and forgotten.
func sourcesOf(source string) []string {
	if kindOf(source) == plain {
		return []string{source}
	}
	return []string{source, producerOf(source)}
}

// effectiveFloor is the floor of one source, among all that are known. What an outbox tells
// with the messages of its queues holds for those of its topics, and the other way round.
// Where a producer has begun to write under another name, which an upgrade brings, it tells
// no floors under the old one any more. What is pending there is above its new name's
// floor, and where there are several new names, above the lowest of these.
func effectiveFloor(of Horizon, all []Horizon) waybill.ID {
	switch kindOf(of.Producer) {
	case identified, subscribed:
		return outboxFloor(outboxOf(of.Producer), all)
	}
	if of.Floor.IsZero() {
		return of.Floor
	}
	kind := kindOf(of.Producer)
	var lowest waybill.ID
	for _, h := range all {
		if kindOf(h.Producer) <= kind || producerOf(h.Producer) != producerOf(of.Producer) {
			continue
		}
		floor := h.Floor
		if kindOf(h.Producer) > anonymous {
			floor = outboxFloor(outboxOf(h.Producer), all)
		}
		if floor.IsZero() {
			continue
		}
		if lowest.IsZero() || floor.Compare(lowest) < 0 {
			lowest = floor
		}
	}
	if lowest.Compare(of.Floor) > 0 {
		return lowest
	}
	return of.Floor
}

// outboxFloor is the highest floor that an outbox has told, with whatever message.
func outboxFloor(outbox string, all []Horizon) (highest waybill.ID) {
	topics := outbox + subscription
	for _, h := range all {
		if (h.Producer == outbox || h.Producer == topics) && h.Floor.Compare(highest) > 0 {
			highest = h.Floor
		}
	}
	return highest
}
