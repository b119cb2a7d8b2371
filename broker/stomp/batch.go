package stomp

import (
	"bytes"
	"sync"

	"github.com/go-stomp/stomp/v3/frame"
)

// batch is several frames that are written at once.
type batch struct {
	buffer  bytes.Buffer
	encoder *frame.Writer
}

// batches are those that can be used again.
var batches = sync.Pool{New: func() any {
	b := &batch{}
	b.encoder = frame.NewWriter(&b.buffer)
	return b
}}

// newBatch returns an empty batch.
func newBatch() *batch {
	b := batches.Get().(*batch)
	b.buffer.Reset()
	return b
}

// add encodes a frame. Writing to memory does not fail.
func (b *batch) add(f *frame.Frame) { _ = b.encoder.Write(f) }

func (b *batch) bytes() []byte { return b.buffer.Bytes() }

// release lets the memory be used again, unless a large message has made it grow.
func (b *batch) release() {
	if b.buffer.Cap() <= 1<<20 {
		batches.Put(b)
	}
}
