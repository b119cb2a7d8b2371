package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/backoff"
)

// cleanUp removes what the run has made in the databases and at the broker, unless it is
// wanted: where the verdict is bad, that is what shows why. It works after an
// interruption, too. It returns what stays and why, for a person.
func (r *run) cleanUp(ctx context.Context, report *Report) (left string, err error) {
	if r.o.Keep || report != nil && !report.OK {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, d := range []*database{r.producerDB, r.consumerDB} {
		if d == nil {
			continue
		}
		if dropErr := d.drop(ctx); dropErr != nil {
			err = fmt.Errorf("%w; the run's tables have the prefix %s", dropErr, r.prefix)
		}
	}
	if r.broker != nil || !r.started {
		return "", err
	}
	stay, removeErr := r.removeQueues(ctx)
	if removeErr != nil {
		err = errors.Join(err, fmt.Errorf("not all of the run's queues could be removed: %w", removeErr))
	}
	if len(stay) > 0 {
		left = "These stay, all but empty, at the broker, which cannot be told to remove them: " + strings.Join(stay, ", ")
	}
	return left, err
}

// removeQueues removes the run's queues and topic from a server. It returns the names of
// those that its protocol cannot remove.
func (r *run) removeQueues(ctx context.Context) (stay []string, err error) {
	b, err := address.OpenBroker(r.o.Broker) // past the proxies
	if err != nil {
		return nil, err
	}
	conn, err := b.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	remover, ok := conn.(broker.Remover)
	for _, s := range r.subscriptions() {
		removeErr := errors.ErrUnsupported
		if ok {
			removeErr = r.remove(ctx, remover, s)
		}
		switch {
		case errors.Is(removeErr, errors.ErrUnsupported) && s.Group == "":
			stay = append(stay, s.Destination)
		case removeErr != nil:
			err = errors.Join(err, removeErr)
		}
	}
	return stay, err
}

// remove tries again for a while: a process that was killed may count as a subscriber
// until the broker has noticed.
func (r *run) remove(ctx context.Context, from broker.Remover, s broker.Subscription) error {
	for try := 0; ; try++ {
		err := from.Remove(ctx, s)
		if err == nil || errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if try == 0 {
			r.note("%v", err)
			r.say("Waiting until the broker lets %s be removed.", s.Destination)
		}
		if backoff.Sleep(ctx, time.Second); ctx.Err() != nil {
			return err
		}
	}
}

// subscriptions are the queues and topics that the run has made, and of a topic first what
// is there for its groups.
func (r *run) subscriptions() []broker.Subscription {
	names := destinationsOf(r.name)
	var all []broker.Subscription
	for _, queue := range []string{names.Transfers, names.Quick, names.Orders, names.Parcels, names.Errands, names.Abroad, names.Notices, waybill.ReceiptQueue(producerName(r.name), r.identity)} {
		all = append(all, broker.Subscription{Destination: queue})
	}
	if r.topic() {
		for _, group := range topicGroups {
			all = append(all, broker.Subscription{Destination: names.Public, Topic: true, Group: consumerName(group)})
		}
		all = append(all, broker.Subscription{Destination: names.Public, Topic: true})
	}
	return all
}
