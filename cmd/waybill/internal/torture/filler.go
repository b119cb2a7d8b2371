package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
	} else if err := n.fillEmbedded(ctx, span); err != nil {
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
	filled := func() int64 { return total(slices.Concat(n.producers, n.relays, n.consumers)).Filled }
	before := filled()
	n.note("the databases' files may not grow for %v", span)
	n.setFull(true)
	backoff.Sleep(ctx, span)
	n.setFull(false)
	if filled() > before {
		n.count("dbdisk")
	}
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
	err := n.hook(ctx, fill)
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
// takes them away again, whatever became of filling it: a broker that stays full would have all
// messages wait for ever.
func (n *nemesis) fillEmbedded(ctx context.Context, span time.Duration) error {
	b, err := nats.New(n.brokerAddr, &nats.Options{Name: "filler"})
	if err != nil {
		return err
	}
	queue := "torture." + n.name + ".filler"
	// What has begun goes on, as long as the broker answers, also where the faults' time is over.
	whole := context.WithoutCancel(ctx)
	if err := fill(whole, b, queue); err != nil {
		n.note("the broker's disk was not filled: %v", err)
	} else {
		n.count("disk")
		n.note("the broker's disk is full for %v", span)
		backoff.Sleep(ctx, span)
	}
	if err := removeQueue(whole, b, queue); err != nil {
		return err
	}
	n.note("the broker's disk has room again")
	return nil
}

// How long one step of the filler's may take at most, and how often removing its queue is
// tried.
const (
	fillerTime  = 10 * time.Second
	removeTries = 20
)

// connectFiller connects to a broker, within fillerTime.
func connectFiller(ctx context.Context, b broker.Broker) (broker.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, fillerTime)
	defer cancel()
	return b.Connect(limited)
}

// fill fills a broker's disk by a queue, for as long as the broker answers.
func fill(ctx context.Context, b broker.Broker, queue string) error {
	conn, err := connectFiller(ctx, b)
	if err != nil {
		return err
	}
	defer closeFiller(ctx, conn)
	return publishUntilFull(ctx, conn, queue)
}

func closeFiller(ctx context.Context, conn broker.Conn) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), fillerTime)
	defer cancel()
	_ = conn.Close(limited)
}

// publishUntilFull publishes ever smaller messages until not even those of 256 bytes are
// taken. An answer that does not come says nothing of the disk, and is an error.
func publishUntilFull(ctx context.Context, conn broker.Conn, queue string) error {
	publish := func(size int) (broker.Result, error) {
		limited, cancel := context.WithTimeout(ctx, fillerTime)
		defer cancel()
		results, err := conn.Publish(limited, []broker.Message{{Destination: queue, Body: make([]byte, size)}}, waybill.Transient)
		if err != nil {
			return broker.Result{}, err
		}
		return results[0], nil
	}
	for size := 1 << 20; size >= 1<<8; {
		result, err := publish(size)
		unanswered := result.Fate == broker.Unknown || errors.Is(result.Err, context.DeadlineExceeded) || errors.Is(result.Err, context.Canceled)
		switch {
		case err != nil:
			return err
		case result.Fate == broker.Confirmed:
		case unanswered:
			return fmt.Errorf("whether there is room for %d bytes is not known: %w", size, result.Err)
		default:
			size /= 4
		}
	}
	return nil
}

// removeQueue removes a queue with all that is in it, each time over a connection of its own.
func removeQueue(ctx context.Context, b broker.Broker, queue string) error {
	remove := func() error {
		conn, err := connectFiller(ctx, b)
		if err != nil {
			return err
		}
		defer closeFiller(ctx, conn)
		remover, ok := conn.(broker.Remover)
		if !ok {
			return errors.ErrUnsupported
		}
		return remover.Remove(ctx, broker.Subscription{Destination: queue})
	}
	for try := 1; ; try++ {
		err := remove()
		if err == nil || try == removeTries {
			return err
		}
		backoff.Sleep(ctx, 250*time.Millisecond)
	}
}
