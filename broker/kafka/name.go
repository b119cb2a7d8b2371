package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxName is the greatest length of a topic's name.
const maxName = 249

// topicMark is at the end of the names of topics, hashMark before the hash of a name that
// was too long. No escape looks like one of them: the digits of escapes are capital.
const (
	topicMark = "--topic"
	hashMark  = "--h"
)

// candidates are the names that a destination may have in Kafka, the better one first. No
// other destination has any of them. The second, if there is one, is for a cluster that
// has a topic whose name differs from the first one in '.' and '_' only, since Kafka does
// not take two such names.
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

// escape writes a name with the characters that Kafka takes: letters, digits, '.', '_' and
// '-', or with strict without '.' and '_'. Every other byte is "--" and two hexadecimal
// digits.
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

// natural reports whether a character other than '-' stands for itself.
func natural(c byte, strict bool) bool {
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	return letter || c >= '0' && c <= '9' || !strict && (c == '.' || c == '_')
}

// fit shortens a name that is too long: its beginning, and the first half of its SHA-256.
func fit(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := hashMark + hex.EncodeToString(sum[:16])
	return name[:maxName-len(digest)] + digest
}

// groupOf is the consumer group that receives from a Kafka topic. Each Kafka topic has
// groups of its own, so that subscribers of one do not make those of another rebalance. No
// Kafka topic has a ':' in its name.
func groupOf(group, name string, topic bool) string {
	if !topic {
		group = "waybill"
	}
	return group + ":" + name
}
