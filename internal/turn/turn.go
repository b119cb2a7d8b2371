// Package turn lets a few at a time do what takes a broker long, so that thousands of them
// keep waiting nobody else who needs it: call Line.Enter.
package turn

import (
	"context"
	"sync"
	"time"
)

// Line lets a few callers in at a time, in the order in which they come. It is safe for
// concurrent use.
type Line struct {
	inside   chan struct{} // holds an item for each of them
	patience time.Duration
}

// NewLine lets most callers in at a time. One that stays for longer than patience counts no
// more: what it does may not end for long.
func NewLine(most int, patience time.Duration) *Line {
	return &Line{inside: make(chan struct{}, most), patience: patience}
}

// Enter waits for the caller's turn; ok is false where ctx or done has ended before. The
// caller has to call leave when it is done, which may be done again.
func (l *Line) Enter(ctx context.Context, done <-chan struct{}) (leave func(), ok bool) {
	select {
	case l.inside <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	case <-done:
		return nil, false
	}
	out := sync.OnceFunc(func() { <-l.inside })
	timer := time.AfterFunc(l.patience, out)
	return func() {
		timer.Stop()
		out()
	}, true
}
