package amqp1

import (
	"context"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// maxLinks bounds the links that are kept open for publishing. Of more, the one that has
// been idle for the longest time is closed.
const maxLinks = 256

// destination is where a link for publishing leads to.
type destination struct {
	name  string
	topic bool
}

// links are the links for publishing of one connection.
type links struct {
	session *amqp.Session
	most    int // to keep open

	mu   sync.Mutex
	open map[destination]*link
	uses uint64
}

// link is one of them, perhaps still being opened.
type link struct {
	ready  chan struct{} // closed when sender or err is set
	sender *amqp.Sender
	err    error
	users  int    // calls of Publish that have it
	used   uint64 // links.uses when it was last taken
}

// take returns the open link to d, for give to take back. An error means that the broker
// does not let us publish there, or that the connection or ctx has ended.
func (l *links) take(ctx context.Context, d destination, kind jmsbroker.Kind) (*link, error) {
	l.mu.Lock()
	if l.open == nil {
		l.open = map[destination]*link{}
	}
	k, ok := l.open[d]
	if !ok {
		k = &link{ready: make(chan struct{})}
		l.open[d] = k
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
		k.sender, k.err = l.session.NewSender(ctx, jmsbroker.AMQPAddress(kind, d.name, d.topic), &amqp.SenderOptions{
			SettlementMode:     amqp.SenderSettleModeMixed.Ptr(),
			TargetCapabilities: []string{capability(d.topic)},
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
		l.drop(d, k)
		l.give(k)
		return nil, k.err
	}
	return k, nil
}

// surplus removes a link and returns it, where there are too many. It needs l.mu.
func (l *links) surplus() *link {
	if len(l.open) <= l.most {
		return nil
	}
	var oldest *link
	var at destination
	for d, k := range l.open {
		if k.users == 0 && (oldest == nil || k.used < oldest.used) {
			oldest, at = k, d
		}
	}
	if oldest != nil {
		delete(l.open, at)
	}
	return oldest
}

// give takes back what take has returned.
func (l *links) give(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.users--
}

// drop forgets a link that has ended, so that the next message opens another.
func (l *links) drop(d destination, k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[d] == k {
		delete(l.open, d)
	}
}

// capability tells the broker whether an address is a queue or a topic.
func capability(topic bool) string {
	if topic {
		return "topic"
	}
	return "queue"
}
