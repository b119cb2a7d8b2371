package kafka

import (
	"bytes"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker"
)

// contentType is the header that carries a message's content type.
const contentType = "content-type"

// slab is the memory of a batch's records. The library may have them after Publish has
// returned, so they share nothing with the caller's messages.
type slab struct {
	bytes   []byte
	headers []kgo.RecordHeader
	records []kgo.Record
}

// newSlab makes room for the messages at these positions.
func newSlab(messages []broker.Message, which []int) *slab {
	size, headers := 0, 0
	for _, i := range which {
		m := &messages[i]
		size += len(m.Body) + len(m.Key) + len(m.ContentType)
		for k := range m.Headers {
			size += len(m.Headers[k].Value)
		}
		headers += len(m.Headers) + 1
	}
	return &slab{
		bytes:   make([]byte, 0, size),
		headers: make([]kgo.RecordHeader, 0, headers),
		records: make([]kgo.Record, 0, len(which)),
	}
}

// keep copies text or bytes to the slab.
func keep[T string | []byte](s *slab, data T) []byte {
	from := len(s.bytes)
	s.bytes = append(s.bytes, data...)
	return s.bytes[from:len(s.bytes):len(s.bytes)]
}

// record makes a record of a message.
func (s *slab) record(m *broker.Message, topic string) *kgo.Record {
	from := len(s.headers)
	for k := range m.Headers {
		s.headers = append(s.headers, kgo.RecordHeader{Key: m.Headers[k].Name, Value: keep(s, m.Headers[k].Value)})
	}
	if m.ContentType != "" {
		s.headers = append(s.headers, kgo.RecordHeader{Key: contentType, Value: keep(s, m.ContentType)})
	}
	r := kgo.Record{Topic: topic, Value: keep(s, m.Body), Headers: s.headers[from:len(s.headers):len(s.headers)]}
	if m.Key != "" {
		r.Key = keep(s, m.Key)
	}
	s.records = append(s.records, r)
	return &s.records[len(s.records)-1]
}

// decode turns a record into what Receive returns, without a token. The message shares nothing
// with the record: that is in the buffer of a whole fetch, up to 16 MiB, which one message that is
// not settled for a while would keep in memory.
func decode(in *kgo.Record, sub *broker.Subscription) broker.Delivery {
	d := broker.Delivery{Message: broker.Message{
		Destination: sub.Destination, Topic: sub.Topic,
		Body: bytes.Clone(in.Value),
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
