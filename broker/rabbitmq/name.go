package rabbitmq

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// maxName is the greatest length of a name in AMQP 0-9-1, in bytes.
const maxName = 255

// reserved begins the names that the broker keeps for itself.
const reserved = "amq."

// entity is what the broker calls a queue or an exchange: the name itself, with a '%' before
// it where it begins as the broker's own do. Of a name that is too long, as many whole
// characters are kept as leave room for a '%' and 32 hexadecimal digits, the first half of
// its SHA-256. No destination and no group has a '%', so the mapping is one to one.
func entity(name string) string {
	if strings.HasPrefix(name, reserved) {
		name = "%" + name
	}
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := hex.EncodeToString(sum[:16])
	cut := maxName - len(digest) - 1
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "%" + digest
}

// groupQueue is the queue that collects a topic's messages for a group. No destination and
// no group has a '>'.
func groupQueue(topic, group string) string { return entity(topic + ">" + group) }

// route is where a message goes.
type route struct {
	exchange string // empty for the default one, which leads to the queue with the name key
	key      string
}

// routeTo is the way to a destination.
func routeTo(destination string, topic bool) route {
	name := entity(destination)
	if topic {
		return route{exchange: name, key: name}
	}
	return route{key: name}
}

// mandatory reports whether the broker has to return a message that finds no queue. A topic
// without groups takes messages all the same.
func (r route) mandatory() bool { return r.exchange == "" }
