package kafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-go/waybill/broker"
)

const (
	// commitPause is the least time between two commits of a subscription: Kafka writes
	// each to a log of its own.
	commitPause = 100 * time.Millisecond
	// commitTime bounds one commit, which waits while the group rebalances.
	commitTime = 10 * time.Second
)

// commit commits positions as they change, until the subscription ends.
func (r *receiver) commit() {
	ctx, cancel := r.alive()
	defer cancel()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-r.dirty:
		case <-ctx.Done():
			return
		}
		r.flush(ctx, nil)
		pause.Reset(commitPause)
	}
}

// flush commits the positions that Kafka does not know, of these partitions or with nil of
// all. Where it fails the next one tries again: an old position costs copies only.
func (r *receiver) flush(ctx context.Context, partitions []int32) {
	r.committing.Lock() // an older position must not arrive after a newer one
	defer r.committing.Unlock()
	offsets := map[int32]kgo.EpochOffset{}
	of := map[int32]*assignment{}
	r.mu.Lock()
	for partition, a := range r.assignments {
		if offset, epoch, news := a.position(); news && (partitions == nil || slices.Contains(partitions, partition)) {
			offsets[partition] = kgo.EpochOffset{Offset: offset, Epoch: epoch}
			of[partition] = a
		}
	}
	r.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	r.client.CommitOffsetsSync(limited, map[string]map[int32]kgo.EpochOffset{r.name: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				signal(r.dirty)
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, topic := range response.Topics {
				for _, p := range topic.Partitions {
					if a := of[p.Partition]; a != nil && kerr.ErrorForCode(p.ErrorCode) == nil {
						a.committed = max(a.committed, offsets[p.Partition].Offset)
					}
				}
			}
		})
}

// revoked is called by the library when partitions go to another member, or when we leave.
// It commits what is settled while they are still ours.
func (r *receiver) revoked(ctx context.Context, _ *kgo.Client, partitions map[string][]int32) {
	if gone := partitions[r.name]; len(gone) > 0 {
		r.flush(ctx, gone)
		r.drop(gone)
	}
}

// lost is called by the library when partitions may be another member's already.
func (r *receiver) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	r.drop(partitions[r.name])
}

// drop forgets partitions, with what has arrived of them and Receive has not returned.
func (r *receiver) drop(partitions []int32) {
	r.mu.Lock()
	for _, partition := range partitions {
		if a := r.assignments[partition]; a != nil {
			r.abandon(a)
			delete(r.assignments, partition)
		}
	}
	r.mu.Unlock()
	signal(r.room)
}

// abandon gives up an assignment. It needs r.mu.
func (r *receiver) abandon(a *assignment) {
	r.unsettled -= a.unsettled()
	a.lost = true
	r.arrivals.Drop(a.has)
}

// Close commits what is settled and leaves the group; see broker.Receiver.
func (r *receiver) Close(ctx context.Context) error {
	r.arrivals.End(broker.ErrClosed)
	if !r.conn.forget(r) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	r.leave(limited)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("kafka: close the subscription of %q: %w", r.subscription.Destination, err)
	}
	return nil
}

// leave leaves the group and ends the client, at once when ctx ends.
func (r *receiver) leave(ctx context.Context) {
	r.arrivals.End(broker.ErrClosed)
	stop := context.AfterFunc(ctx, r.client.kill)
	defer stop()
	r.running.Wait()
	r.client.CloseAllowingRebalance() // it calls revoked, which commits
	r.client.kill()
}
