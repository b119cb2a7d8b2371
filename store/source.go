package store

import (
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Source is the name under which a message's records, floors and horizons are kept. With
// a receipt queue that an outbox's identity is part of, it is "<producer>.<identity>", as
// that queue's name has it, so that whoever only knows the producer's name can have
// nothing of it forgotten. For all others it is "<producer>.". Version 1 had the
// producer's name alone; nothing is written under that any more.
func Source(producer, receiptTo string) string {
	if mutant.ForgetByName {
		return producer
	}
	if name, ok := strings.CutPrefix(receiptTo, waybill.ReceiptPrefix); ok && kindOf(name) == identified {
		return name
	}
	return producer + "."
}

// sourceKind tells the three forms of a source's name.
type sourceKind int

const (
	plain      sourceKind = iota // "shop": of version 1
	anonymous                    // "shop."
	identified                   // "shop.7q3mk2xw9d4hznsb6t5vfc8a"
)

func kindOf(source string) sourceKind {
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

// producerOf is the producer's name in a source's.
func producerOf(source string) string {
	if kindOf(source) == plain {
		return source
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

// effectiveFloor is the floor of one source, among all that are known. Where a producer has
// begun to write under another name, which an upgrade brings, it tells no floors under
// the old one any more. What is pending there is above its new name's floor, and where
// there are several new names, above the lowest of these.
func effectiveFloor(of Horizon, all []Horizon) waybill.ID {
	kind := kindOf(of.Producer)
	if kind == identified || of.Floor.IsZero() {
		return of.Floor
	}
	var lowest waybill.ID
	for _, h := range all {
		if kindOf(h.Producer) <= kind || producerOf(h.Producer) != producerOf(of.Producer) || h.Floor.IsZero() {
			continue
		}
		if lowest.IsZero() || h.Floor.Compare(lowest) < 0 {
			lowest = h.Floor
		}
	}
	if lowest.Compare(of.Floor) > 0 {
		return lowest
	}
	return of.Floor
}
