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

// entity is what the broker calls a queue or exchange. The mapping is one to one:
// '%' is in no destination and no group.
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

// groupQueue is the queue that collects a topic's messages for a group. '>' is in
// no destination and no group.
func groupQueue(topic, group string) string { return entity(topic + ">" + group) }

// route is where a message goes.
type route struct {
	exchange string // empty: the default one, which leads to the queue named key
	key      string
}

func routeTo(destination string, topic bool) route {
	name := entity(destination)
	if topic {
		return route{exchange: name, key: name}
	}
	return route{key: name}
}

// mandatory says whether a message that finds no queue is a failure. A topic that
// nobody listens to takes messages.
func (r route) mandatory() bool { return r.exchange == "" }
