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
)

// maxStore is the size of the embedded broker's disk in bytes, as far as it knows.
const maxStore = 24 << 20

// diskIsFull fills the broker's disk until it takes no more, and makes room
// again after a while.
func (s *storm) diskIsFull(ctx context.Context, dice *rand.Rand) {
	release, ok := s.claim("broker")
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 4*time.Second)
	if s.broker == nil {
		s.fillServer(ctx, span)
	} else if err := s.fillEmbedded(ctx, span); err != nil && ctx.Err() == nil {
		s.fail(fmt.Errorf("fill the broker's disk: %w", err))
	}
}

func (s *storm) fillServer(ctx context.Context, span time.Duration) {
	err := hook(ctx, s.o.BrokerFill)
	if err == nil {
		s.count("disk")
		s.note("the broker's disk is full for %v", span)
		sleep(ctx, span)
	}
	// Whatever became of the first, a user's server must not stay without room.
	if err = errors.Join(err, s.startHook(ctx, s.o.BrokerFree)); err != nil {
		s.troubled(err)
		return
	}
	s.note("the broker's disk has room again")
	sleep(ctx, 2*time.Second)
}

func (s *storm) fillEmbedded(ctx context.Context, span time.Duration) error {
	b, err := nats.New(s.brokerAddr, &nats.Options{Name: "ballast"})
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
	queue := "torture." + s.name + ".ballast"
	full := false
	for size := 1 << 20; size >= 1<<8; {
		results, err := conn.Publish(limited, []broker.Message{{Destination: queue, Body: make([]byte, size)}}, waybill.Transient)
		if err != nil {
			return err
		}
		if results[0].Fate != broker.Confirmed {
			full = true
			size /= 4
		}
	}
	if !full {
		return errors.New("it does not get full")
	}
	s.count("disk")
	s.note("the broker's disk is full for %v", span)
	sleep(ctx, span)
	receiver, err := conn.Subscribe(limited, broker.Subscription{Destination: queue, Group: "ballast", Prefetch: 8})
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Close(limited) }()
	for {
		quiet, cancel := context.WithTimeout(limited, time.Second)
		deliveries, err := receiver.Receive(quiet, 8)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return limited.Err()
		}
		if err == nil {
			err = receiver.Settle(limited, deliveries, broker.Ack)
		}
		if err != nil {
			return err
		}
	}
}
