package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
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

// EncodeHeaders is the text in which a received message's headers and content type are kept:
// a JSON object, in which a name may stand more than once, of strings; a value that is no
// UTF-8 is {"base64": "…"}.
func EncodeHeaders(m *broker.Message) string {
	headers := m.Headers
	if m.ContentType != "" { // last, so that it counts, as in Decode
		headers = append(headers[:len(headers):len(headers)], broker.Header{Name: ContentType, Value: m.ContentType})
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, h := range headers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(h.Name))
		b.WriteByte(':')
		if utf8.ValidString(h.Value) {
			b.Write(quote(h.Value))
			continue
		}
		fmt.Fprintf(&b, `{"base64":%q}`, base64.StdEncoding.EncodeToString([]byte(h.Value)))
	}
	b.WriteByte('}')
	return b.String()
}

// quote is a JSON string. A NUL in it is escaped, which no database could take.
func quote(text string) []byte {
	quoted, _ := json.Marshal(text) // of a string it does not fail
	return quoted
}

// DecodeHeaders reads what EncodeHeaders has written.
func DecodeHeaders(text string) ([]broker.Header, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("headers are no JSON object: %.40q", text)
	}
	var headers []broker.Header
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		var value headerValue
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("header %.40q: %w", name, err)
		}
		headers = append(headers, broker.Header{Name: name.(string), Value: string(value)})
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("headers: something is behind the JSON object")
	}
	return headers, nil
}

// headerValue is a string, or an object with bytes.
type headerValue string

// UnmarshalJSON implements json.Unmarshaler.
func (v *headerValue) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*v = headerValue(text)
		return nil
	}
	var raw struct{ Base64 []byte }
	err := json.Unmarshal(data, &raw)
	*v = headerValue(raw.Base64)
	return err
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
