package stomp

import (
	"bytes"
	"sync"

	"github.com/go-stomp/stomp/v3/frame"
)

// batch is a number of frames that go out as one write.
type batch struct {
	buffer  bytes.Buffer
	encoder *frame.Writer
}

var batches = sync.Pool{New: func() any {
	b := &batch{}
	b.encoder = frame.NewWriter(&b.buffer)
	return b
}}

func newBatch() *batch {
	b := batches.Get().(*batch)
	b.buffer.Reset()
	return b
}

// add encodes a frame. Writing to memory does not fail.
func (b *batch) add(f *frame.Frame) { _ = b.encoder.Write(f) }

func (b *batch) bytes() []byte { return b.buffer.Bytes() }

// release gives the memory back, unless one large message has blown it up.
func (b *batch) release() {
	if b.buffer.Cap() <= 1<<20 {
		batches.Put(b)
	}
}
