package kafka

import (
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker"
)

// contentType is the header that carries a message's content type.
const contentType = "content-type"

// arena is the memory of a batch's records. The library may hold them for longer than
// Publish lasts, so that nothing of the caller's goes into them.
type arena struct {
	bytes   []byte
	headers []kgo.RecordHeader
	records []kgo.Record
}

// newArena makes room for the messages at these positions.
func newArena(messages []broker.Message, which []int) *arena {
	size, headers := 0, 0
	for _, i := range which {
		m := &messages[i]
		size += len(m.Body) + len(m.Key) + len(m.ContentType)
		for k := range m.Headers {
			size += len(m.Headers[k].Value)
		}
		headers += len(m.Headers) + 1
	}
	return &arena{
		bytes:   make([]byte, 0, size),
		headers: make([]kgo.RecordHeader, 0, headers),
		records: make([]kgo.Record, 0, len(which)),
	}
}

// keep copies text or bytes to the arena.
func keep[T string | []byte](a *arena, data T) []byte {
	from := len(a.bytes)
	a.bytes = append(a.bytes, data...)
	return a.bytes[from:len(a.bytes):len(a.bytes)]
}

// record makes a record of a message.
func (a *arena) record(m *broker.Message, topic string) *kgo.Record {
	from := len(a.headers)
	for k := range m.Headers {
		a.headers = append(a.headers, kgo.RecordHeader{Key: m.Headers[k].Name, Value: keep(a, m.Headers[k].Value)})
	}
	if m.ContentType != "" {
		a.headers = append(a.headers, kgo.RecordHeader{Key: contentType, Value: keep(a, m.ContentType)})
	}
	r := kgo.Record{Topic: topic, Value: keep(a, m.Body), Headers: a.headers[from:len(a.headers):len(a.headers)]}
	if m.Key != "" {
		r.Key = keep(a, m.Key)
	}
	a.records = append(a.records, r)
	return &a.records[len(a.records)-1]
}

// decode makes of a record what Receive returns, without a token.
func decode(in *kgo.Record, sub *broker.Subscription) broker.Delivery {
	d := broker.Delivery{Message: broker.Message{
		Destination: sub.Destination, Topic: sub.Topic,
		Body: in.Value[:len(in.Value):len(in.Value)],
	}}
	if utf8.Valid(in.Key) {
		d.Key = string(in.Key)
	}
	d.Headers = make([]broker.Header, 0, len(in.Headers))
	for _, h := range in.Headers {
		if h.Key == contentType {
			d.ContentType = string(h.Value)
			continue
		}
		d.Headers = append(d.Headers, broker.Header{Name: h.Key, Value: string(h.Value)})
	}
	return d
}
