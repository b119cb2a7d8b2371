package memory

import "github.com/waybill-go/waybill/broker"

// The sizes that allocations are shared in. One message that stays keeps the
// memory of at most so many of its batch.
const (
	slabItems    = 64
	slabHeaders  = 512
	slabBytes    = 32 << 10
	largestShare = slabBytes / 8
)

// arena copies bodies and headers with few allocations. What it returns has no
// spare capacity, so that an append by its owner touches no neighbour.
type arena struct {
	bytes   []byte
	headers []broker.Header
	// what is still to come, so that small batches take small pieces
	restBytes, restHeaders int
}

// expect announces a message that own will be called for.
func (a *arena) expect(m *broker.Message) {
	if len(m.Body) <= largestShare {
		a.restBytes += len(m.Body)
	}
	a.restHeaders += len(m.Headers)
}

// own gives a message a body and headers of its own.
func (a *arena) own(m *broker.Message) {
	m.Body = a.body(m.Body)
	n := len(m.Headers)
	if n == 0 {
		m.Headers = nil
		return
	}
	if n > len(a.headers) {
		a.headers = make([]broker.Header, max(n, min(a.restHeaders, slabHeaders)))
	}
	copied := a.headers[:n:n]
	a.headers = a.headers[n:]
	a.restHeaders -= n
	copy(copied, m.Headers)
	m.Headers = copied
}

func (a *arena) body(body []byte) []byte {
	n := len(body)
	if n > largestShare {
		return append([]byte(nil), body...)
	}
	if n > len(a.bytes) {
		a.bytes = make([]byte, max(n, min(a.restBytes, slabBytes)))
	}
	copied := a.bytes[:n:n]
	a.bytes = a.bytes[n:]
	a.restBytes -= n
	copy(copied, body)
	return copied
}
