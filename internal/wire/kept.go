package wire

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
)

// NativeID is the id of a message that names none itself: a UUIDv7 of the time that its
// identity has, which is the same for each delivery of it. The zero ID where the broker tells
// no identity or no time.
func NativeID(i broker.Identity, destination string, topic bool) waybill.ID {
	ms := i.Time.UnixMilli()
	if i.IsZero() || i.Time.IsZero() || ms <= 0 || ms >= 1<<48 {
		return waybill.ID{}
	}
	id := waybill.LowestID(time.UnixMilli(ms))
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %t %s", destination, topic, i))
	id[6] |= hash[0] & 0x0f
	id[7] = hash[1]
	id[8] |= hash[2] & 0x3f
	copy(id[9:], hash[3:])
	return id
}

// EncodeHeaders is the text in which a received message's headers and content type are kept.
func EncodeHeaders(m *broker.Message) string {
	headers := make([]store.KeptHeader, 0, len(m.Headers)+1)
	for _, h := range m.Headers {
		headers = append(headers, store.KeptHeader(h))
	}
	if m.ContentType != "" { // last, so that it counts, as in Decode
		headers = append(headers, store.KeptHeader{Name: ContentType, Value: m.ContentType})
	}
	return store.EncodeHeaders(headers)
}

// DecodeHeaders reads what EncodeHeaders has written.
func DecodeHeaders(text string) ([]broker.Header, error) {
	kept, err := store.DecodeHeaders(text)
	headers := make([]broker.Header, len(kept))
	for i, h := range kept {
		headers[i] = broker.Header(h)
	}
	return headers, err
}

// deliveryBytes bounds the name of a delivery, which a column has to hold.
const deliveryBytes = 255

// DeliveryName is the name under which a message is kept once: the broker's identity of it,
// or where that tells none the message's own id.
func DeliveryName(i broker.Identity, id waybill.ID) string {
	if i.IsZero() {
		return id.String()
	}
	name := i.String()
	if len(name) > deliveryBytes || !utf8.ValidString(name) || strings.Contains(name, "\x00") {
		return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name)))
	}
	return name
}
