package amqp1

import (
	"context"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// maxLinks bounds the links that are kept open for publishing; the one that was
// idle for longest goes first.
const maxLinks = 256

// target is what a link for publishing leads to.
type target struct {
	destination string
	topic       bool
}

// links keeps the links for publishing of one connection.
type links struct {
	session *amqp.Session
	most    int // links to keep

	mu   sync.Mutex
	open map[target]*link
	uses uint64
}

// link is one of them, perhaps still being opened.
type link struct {
	ready  chan struct{} // closed when sender or err is set
	sender *amqp.Sender
	err    error
	users  int    // calls of Publish that hold it
	used   uint64 // links.uses when it was taken last
}

// take returns the open link to t, for give to take back. An error means that the
// broker does not let us publish there, or that the connection or ctx has ended.
func (l *links) take(ctx context.Context, t target, kind Kind) (*link, error) {
	l.mu.Lock()
	if l.open == nil {
		l.open = map[target]*link{}
	}
	k, ok := l.open[t]
	if !ok {
		k = &link{ready: make(chan struct{})}
		l.open[t] = k
	}
	l.uses++
	k.used = l.uses
	k.users++
	surplus := l.surplus()
	l.mu.Unlock()
	if surplus != nil {
		_ = surplus.sender.Close(ctx)
	}
	if !ok {
		k.sender, k.err = l.session.NewSender(ctx, address(kind, t.destination, t.topic), &amqp.SenderOptions{
			SettlementMode:     amqp.SenderSettleModeMixed.Ptr(),
			TargetCapabilities: []string{capability(t.topic)},
		})
		close(k.ready)
	}
	select {
	case <-k.ready:
	case <-ctx.Done():
		l.give(k)
		return nil, ctx.Err()
	}
	if k.err != nil {
		l.drop(t, k)
		l.give(k)
		return nil, k.err
	}
	return k, nil
}

// surplus removes a link and returns it, where there are too many. l.mu is held.
func (l *links) surplus() *link {
	if len(l.open) <= l.most {
		return nil
	}
	var oldest *link
	var where target
	for t, k := range l.open {
		if k.users == 0 && (oldest == nil || k.used < oldest.used) {
			oldest, where = k, t
		}
	}
	if oldest != nil {
		delete(l.open, where)
	}
	return oldest
}

func (l *links) give(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.users--
}

// drop forgets a link that has ended, so that the next message opens another.
func (l *links) drop(t target, k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[t] == k {
		delete(l.open, t)
	}
}

// address is a destination's name as the broker knows it. Classic looks for a
// prefix before it looks at capabilities, and strips it; others take bare names.
func address(kind Kind, destination string, topic bool) string {
	name := jmsbroker.Name(destination)
	switch {
	case kind != jmsbroker.Classic:
		return name
	case topic:
		return "topic://" + name
	}
	return "queue://" + name
}

// capability tells the broker what an address is.
func capability(topic bool) string {
	if topic {
		return "topic"
	}
	return "queue"
}
