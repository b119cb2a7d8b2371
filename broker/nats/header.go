package nats

import (
	"fmt"
	"net/url"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"github.com/waybill-go/waybill/broker"
)

// contentType is the header that has the content type.
const contentType = "Content-Type"

// escapedMark is at the end of the names of headers whose values are percent-encoded.
const escapedMark = "*"

// header makes the NATS headers of a message; nil where it has none.
func header(m *broker.Message) natsgo.Header {
	n := len(m.Headers)
	if m.ContentType != "" {
		n++
	}
	if n == 0 {
		return nil
	}
	h := make(natsgo.Header, n)
	values := make([]string, 0, n)
	add := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for i := range m.Headers {
		name, value := m.Headers[i].Name, m.Headers[i].Value
		if ownName(name) || !carries(value) {
			name, value = name+escapedMark, url.PathEscape(value)
		}
		add(name, value)
	}
	if m.ContentType != "" {
		add(contentType, m.ContentType)
	}
	return h
}

// headerSize is the size in bytes of the headers as they are sent.
func headerSize(h natsgo.Header) int {
	if len(h) == 0 {
		return 0
	}
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(": \r\n") + len(value)
		}
	}
	return size
}

// ownName reports whether a header's name has a meaning for NATS, or for this adapter.
func ownName(name string) bool {
	const reserved = "Nats-"
	return len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved) ||
		strings.EqualFold(name, "Status") || strings.EqualFold(name, "Description") || strings.EqualFold(name, contentType)
}

// carries reports whether a value arrives as it is sent.
func carries(value string) bool {
	if value == "" {
		return true
	}
	first, last := value[0], value[len(value)-1]
	return first > ' ' && last > ' '
}

// readHeader sets the headers and the content type of a received message.
func readHeader(m *broker.Message, h natsgo.Header) {
	if len(h) == 0 {
		return
	}
	m.Headers = make([]broker.Header, 0, len(h))
	for name, values := range h {
		if strings.EqualFold(name, contentType) && len(values) == 1 && m.ContentType == "" { // NATS tells cases apart, and foreign producers write it as HTTP does
			m.ContentType = values[0]
			continue
		}
		plain, escaped := strings.CutSuffix(name, escapedMark)
		for _, value := range values {
			if escaped {
				// What is not encoded is a foreign producer's, and stays as it is.
				if text, err := url.PathUnescape(value); err == nil && plain != "" {
					m.Headers = append(m.Headers, broker.Header{Name: plain, Value: text})
					continue
				}
			}
			m.Headers = append(m.Headers, broker.Header{Name: name, Value: value})
		}
	}
}

// tooLarge is the error of a message that is over the server's max_payload.
func tooLarge(size int, most int64) error {
	return fmt.Errorf("its body and headers have %d bytes, over the server's max_payload of %d", size, most)
}
