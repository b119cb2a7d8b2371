package memory

import "github.com/waybill-go/waybill/broker"

// What is allocated at once and shared by the messages of a batch. One of them that
// stays in a queue keeps all of what it shares, which is why there are limits.
const (
	slabItems    = 64
	slabHeaders  = 512
	slabBytes    = 32 << 10
	largestShare = slabBytes / 8 // a larger body has an allocation of its own
)

// slab copies bodies and headers with few allocations. What it returns has no
// spare capacity, so that an append by its owner touches no neighbour.
type slab struct {
	bytes   []byte
	headers []broker.Header
	// What has been announced and not copied yet: a small batch allocates little.
	restBytes, restHeaders int
}

// expect announces a message that own will be called for.
func (s *slab) expect(m *broker.Message) {
	if len(m.Body) <= largestShare {
		s.restBytes += len(m.Body)
	}
	s.restHeaders += len(m.Headers)
}

// own gives a message a body and headers of its own.
func (s *slab) own(m *broker.Message) {
	m.Body = s.body(m.Body)
	n := len(m.Headers)
	if n == 0 {
		m.Headers = nil
		return
	}
	if n > len(s.headers) {
		s.headers = make([]broker.Header, max(n, min(s.restHeaders, slabHeaders)))
	}
	copied := s.headers[:n:n]
	s.headers = s.headers[n:]
	s.restHeaders -= n
	copy(copied, m.Headers)
	m.Headers = copied
}

// body returns a copy of a body.
func (s *slab) body(body []byte) []byte {
	n := len(body)
	if n > largestShare {
		return append([]byte(nil), body...)
	}
	if n > len(s.bytes) {
		s.bytes = make([]byte, max(n, min(s.restBytes, slabBytes)))
	}
	copied := s.bytes[:n:n]
	s.bytes = s.bytes[n:]
	s.restBytes -= n
	copy(copied, body)
	return copied
}
