package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
)

// topicPrefix begins the subjects of topics. No destination contains a '#'.
const topicPrefix = "topic#."

// subject maps a destination to a subject, one to one. That of a queue is its name, that
// of a topic has topicPrefix before it; a connection's prefix and a dot come before either.
func subject(name string, topic bool, prefix string) string {
	s := escapeSubject(name)
	if topic {
		s = topicPrefix + s
	}
	if prefix != "" {
		s = prefix + "." + s
	}
	return s
}

// escapeSubject writes a name as a subject. What makes it none, or one of the server's own,
// becomes %XX, the hexadecimal value of a byte: a dot at the beginning, at the end or after
// another dot, and a '$' or '_' at the beginning. No destination has a '%' itself.
func escapeSubject(name string) string {
	if name != "" && name[0] != '$' && name[0] != '_' && literal(name) {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.' && (i == 0 || i == len(name)-1 || name[i-1] == '.'),
			i == 0 && (c == '$' || c == '_'),
			c == '%', c == '*', c == '>', c <= ' ':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// literal reports whether a name is a subject without wildcards.
func literal(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..") &&
		!strings.ContainsAny(name, "*>%") && strings.IndexFunc(name, unicode.IsSpace) < 0
}

// streamName names the stream that is made for a destination.
func streamName(name string, topic bool, prefix string) string {
	if prefix != "" {
		name = prefix + "." + name
	}
	if topic {
		return "waybill-topic-" + assetName(name)
	}
	return "waybill-queue-" + assetName(name)
}

// groupName names the consumer of a group, or with "" that of a queue. A stream of the
// user's own may have several destinations, so there the destination is a part of the name.
func groupName(group string, p *place) string {
	name := "waybill"
	if group != "" {
		name = assetName(group)
	}
	if !p.own {
		name += "~" + assetName(p.name)
	}
	return name
}

// assetName maps a name to one that a stream or a consumer may have, one to one. Those are
// names of directories on the server's disk, and parts of its subjects. Lower-case letters,
// digits, '-' and '_' stand for themselves, the rest of ASCII is =XX. A name that has
// upper-case letters, which some file systems do not tell from lower-case ones, or
// characters outside of ASCII, or that is too long for a directory, becomes what can be
// read of it, "==" and a hash of the whole. (The escape is not %XX because servers of 2.9
// take the name for a format, and write acknowledgement subjects that no client can read.)
func assetName(name string) string {
	var exact, readable strings.Builder
	hash := false
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_':
			exact.WriteByte(c)
			readable.WriteByte(c)
		case c >= 'A' && c <= 'Z':
			hash = true
			readable.WriteByte(c)
		case c >= 0x80:
			hash = true
			readable.WriteByte('_')
		default:
			fmt.Fprintf(&exact, "=%02X", c)
			readable.WriteByte('_')
		}
	}
	const longest = 100
	if !hash && exact.Len() <= longest {
		return exact.String()
	}
	sum := sha256.Sum256([]byte(name))
	short := readable.String()
	return short[:min(len(short), longest/2)] + "==" + hex.EncodeToString(sum[:12])
}
