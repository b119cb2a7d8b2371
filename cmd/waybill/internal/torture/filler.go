package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/internal/backoff"
)

// maxStore is the size of the embedded broker's disk in bytes, as far as it knows.
const maxStore = 48 << 20

// fillDisk fills the broker's disk until it takes no more, and makes room again after a
// while.
func (n *nemesis) fillDisk(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("broker")
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 4*time.Second)
	if n.broker == nil {
		n.fillServer(ctx, "disk", "the broker's disk", n.o.BrokerFill, n.o.BrokerFree, span)
	} else if err := n.fillEmbedded(ctx, span); err != nil && ctx.Err() == nil {
		n.fail(fmt.Errorf("fill the broker's disk: %w", err))
	}
}

// fillDatabase fills the databases' disk: by the user's own command, and where there is none
// SQLite's files may not grow.
func (n *nemesis) fillDatabase(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("database")
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 4*time.Second)
	if n.o.DBFill != "" && n.o.DBFree != "" {
		n.fillServer(ctx, "dbdisk", "the databases' disk", n.o.DBFill, n.o.DBFree, span)
		return
	}
	n.count("dbdisk")
	n.note("the databases' files may not grow for %v", span)
	n.setFull(true)
	backoff.Sleep(ctx, span)
	n.setFull(false)
	n.note("the databases' files may grow again")
	backoff.Sleep(ctx, time.Second)
}

// setFull has the files of SQLite be as large as they may be, or ends that.
func (r *run) setFull(full bool) {
	change := func(f *activeFaults) { f.full = full }
	r.setFaults(producerRole, r.producers, change)
	r.setFaults(relayRole, r.relays, change)
	r.setFaults(consumerRole, r.consumers, change)
}

// fillServer fills the disk of a user's server by the user's own command, and then frees it.
func (n *nemesis) fillServer(ctx context.Context, fault, disk, fill, free string, span time.Duration) {
	err := hook(ctx, fill)
	if err == nil {
		n.count(fault)
		n.note("%s is full for %v", disk, span)
		backoff.Sleep(ctx, span)
	}
	// Whatever became of the first, a user's server must not stay without room.
	if err = errors.Join(err, n.startHook(ctx, free)); err != nil {
		n.hookFailed(err)
		return
	}
	n.note("%s has room again", disk)
	backoff.Sleep(ctx, 2*time.Second)
}

// fillEmbedded fills the embedded broker's disk with messages of its own, the filler, and
// takes them away again.
func (n *nemesis) fillEmbedded(ctx context.Context, span time.Duration) error {
	b, err := nats.New(n.brokerAddr, &nats.Options{Name: "filler"})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	conn, err := b.Connect(limited)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(limited) }()
	queue := "torture." + n.name + ".filler"
	if err := publishUntilFull(limited, conn, queue); err != nil {
		return err
	}
	n.count("disk")
	n.note("the broker's disk is full for %v", span)
	backoff.Sleep(ctx, span)
	return takeAll(limited, conn, queue)
}

// publishUntilFull publishes ever smaller messages until not even those of 256 bytes are
// taken.
func publishUntilFull(ctx context.Context, conn broker.Conn, queue string) error {
	for size := 1 << 20; size >= 1<<8; {
		results, err := conn.Publish(ctx, []broker.Message{{Destination: queue, Body: make([]byte, size)}}, waybill.Transient)
		if err != nil {
			return err
		}
		if results[0].Fate != broker.Confirmed {
			size /= 4
		}
	}
	return nil
}

// takeAll takes a queue's messages until none has come for a second.
func takeAll(ctx context.Context, conn broker.Conn, queue string) error {
	receiver, err := conn.Subscribe(ctx, broker.Subscription{Destination: queue, Group: "filler", Prefetch: 8})
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Close(ctx) }()
	for {
		quiet, cancel := context.WithTimeout(ctx, time.Second)
		deliveries, err := receiver.Receive(quiet, 8)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return ctx.Err()
		}
		if err == nil {
			err = receiver.Settle(ctx, deliveries, broker.Ack)
		}
		if err != nil {
			return err
		}
	}
}
