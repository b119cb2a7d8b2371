package jmsbroker

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/waybill-go/waybill/broker"
)

// escapedMark is at the end of the names of headers whose values are percent-encoded. No
// sender's header has it.
const escapedMark = "*"

// Escape returns the header that has to travel beside one that ActiveMQ Classic may change,
// and false where that is not needed. In headers that came by STOMP and that it has read back
// from its store, Classic 5.18 shows a STOMP consumer two U+FFFD in place of each character
// beyond U+FFFF, so that values that differ in nothing else become one. The header itself
// travels too, for consumers that know nothing of its companion.
func Escape(name, value string) (companion broker.Header, needed bool) {
	if !isChanged(value) {
		return broker.Header{}, false
	}
	var escaped strings.Builder
	for _, r := range value {
		if text := string(r); r > 0xffff || r == '%' {
			escaped.WriteString(url.PathEscape(text))
		} else {
			escaped.WriteString(text)
		}
	}
	return broker.Header{Name: name + escapedMark, Value: escaped.String()}, true
}

// isChanged reports whether text has a character beyond U+FFFF, which takes four bytes.
func isChanged(text string) bool {
	for i := range len(text) {
		if text[i] >= 0xf0 {
			return true
		}
	}
	return false
}

// Restore puts back what Escape has saved, and removes the companions. A header that only
// looks like one stays as it is: one without the header that it would be the companion of, or
// that is no companion of its value. It sets the key, too.
func Restore(m *broker.Message) {
	for i := 0; i < len(m.Headers); {
		name, isCompanion := strings.CutSuffix(m.Headers[i].Name, escapedMark)
		if isCompanion && restore(m, name, m.Headers[i].Value) {
			m.Headers = append(m.Headers[:i], m.Headers[i+1:]...)
			continue
		}
		i++
	}
	m.Key, _ = m.Header("businessMark")
}

// restore puts one value back, and reports whether there was a header to put it into.
func restore(m *broker.Message, name, escaped string) bool {
	value, err := url.PathUnescape(escaped)
	if err != nil {
		return false
	}
	if name == contentType && isSame(m.ContentType, value) {
		m.ContentType = value
		return true
	}
	for i := range m.Headers {
		if h := &m.Headers[i]; h.Name == name && isSame(h.Value, value) {
			h.Value = value
			return true
		}
	}
	return false
}

// contentType is the name under which a content type has a companion.
const contentType = "content-type"

// isSame reports whether text is value as Classic may show it.
func isSame(text, value string) bool {
	for _, r := range value {
		whole := string(r)
		rest, ok := strings.CutPrefix(text, whole)
		if !ok && r > 0xffff {
			rest, ok = strings.CutPrefix(text, "\ufffd\ufffd")
		}
		if !ok {
			return false
		}
		text = rest
	}
	return text == ""
}

// FromModifiedUTF8 turns Java's modified UTF-8 into UTF-8. ActiveMQ Classic hands a text
// message of JMS or AMQP to a STOMP consumer in that encoding, in which a character
// beyond U+FFFF is two surrogates of three bytes each and U+0000 is 0xC0 0x80. Neither is
// valid UTF-8, so other text is not changed.
func FromModifiedUTF8(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch {
		case text[i] == 0xc0 && i+1 < len(text) && text[i+1] == 0x80:
			out = append(out, 0)
			i += 2
		case surrogate(text[i:], 0xa0) && surrogate(text[i+3:], 0xb0):
			high := rune(text[i+1]&0x0f)<<6 | rune(text[i+2]&0x3f)
			low := rune(text[i+4]&0x0f)<<6 | rune(text[i+5]&0x3f)
			out = utf8.AppendRune(out, 0x10000+high<<10+low)
			i += 6
		default:
			out = append(out, text[i])
			i++
		}
	}
	return out
}

// surrogate reports whether b begins with a surrogate, the high one of a pair where half
// is 0xa0, the low one where it is 0xb0.
func surrogate(b []byte, half byte) bool {
	return len(b) >= 3 && b[0] == 0xed && b[1]&0xf0 == half && b[2]&0xc0 == 0x80
}
