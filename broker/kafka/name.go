package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxName is the greatest length of a topic's name.
const maxName = 249

// topicMark stands behind the names of topics. No escape looks like it, nor like
// hashMark: those have capital digits.
const (
	topicMark = "--topic"
	hashMark  = "--h"
)

// candidates are the names that a destination may have in Kafka, the better one first.
// Each is no other destination's. The second, if there is one, is for a cluster that
// has another topic whose name differs in '.' and '_' only, which Kafka does not allow.
func (b *Broker) candidates(destination string, topic bool) []string {
	if b.options.Topic != nil {
		if name := b.options.Topic(destination, topic); name != "" {
			return []string{name}
		}
	}
	mark := ""
	if topic {
		mark = topicMark
	}
	strict := fit(escape(destination, true) + mark)
	plain := escape(destination, false)
	if plain == "." || plain == ".." || strings.HasPrefix(plain, "__") {
		return []string{strict}
	}
	if !strings.ContainsAny(plain, "._") {
		return []string{fit(plain + mark)}
	}
	return []string{fit(plain + mark), strict}
}

// escape writes a name with the characters that Kafka takes; with strict, without '.'
// and '_'.
func escape(name string, strict bool) string {
	var out strings.Builder
	for i := range len(name) {
		c := name[i]
		// A '-' stands for itself where it cannot be taken for the beginning of an escape.
		if natural(c, strict) || c == '-' && i+1 < len(name) && natural(name[i+1], strict) {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "--%02X", c)
		}
	}
	return out.String()
}

func natural(c byte, strict bool) bool {
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	return letter || c >= '0' && c <= '9' || !strict && (c == '.' || c == '_')
}

// fit shortens a name that is too long.
func fit(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := hashMark + hex.EncodeToString(sum[:16])
	return name[:maxName-len(digest)] + digest
}

// groupOf is the consumer group that receives from a Kafka topic. A group of its own
// for each keeps subscribers of one from rebalancing those of another. ':' is in no
// topic's name.
func groupOf(group, name string, topic bool) string {
	if !topic {
		group = "waybill"
	}
	return group + ":" + name
}
