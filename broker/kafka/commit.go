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
	// commitPause is the least time between two commits of a subscription: each is a
	// write to Kafka's own log.
	commitPause = 100 * time.Millisecond
	// commitTime bounds one commit. A group that rebalances holds it up.
	commitTime = 10 * time.Second
)

// commit tells Kafka the positions, until the subscription ends.
func (r *Receiver) commit() {
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

// flush commits the positions that are news, of these partitions or, with nil, of all.
// What fails is tried again with the next one: an old position costs copies only.
func (r *Receiver) flush(ctx context.Context, partitions []int32) {
	r.committing.Lock() // or an older position might come after a newer one
	defer r.committing.Unlock()
	offsets := map[int32]kgo.EpochOffset{}
	on := map[int32]*track{}
	r.mu.Lock()
	for partition, t := range r.tracks {
		if offset, epoch, news := t.position(); news && (partitions == nil || slices.Contains(partitions, partition)) {
			offsets[partition] = kgo.EpochOffset{Offset: offset, Epoch: epoch}
			on[partition] = t
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
					if t := on[p.Partition]; t != nil && kerr.ErrorForCode(p.ErrorCode) == nil {
						t.committed = max(t.committed, offsets[p.Partition].Offset)
					}
				}
			}
		})
}

// revoked is called by the library when partitions go to another member, or we leave:
// what is settled is committed while they are still ours.
func (r *Receiver) revoked(ctx context.Context, _ *kgo.Client, partitions map[string][]int32) {
	if gone := partitions[r.name]; len(gone) > 0 {
		r.flush(ctx, gone)
		r.drop(gone)
	}
}

// lost is called by the library when partitions have gone without a word.
func (r *Receiver) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	r.drop(partitions[r.name])
}

// drop forgets partitions, with what has arrived of them and nobody has seen.
func (r *Receiver) drop(partitions []int32) {
	r.mu.Lock()
	for _, partition := range partitions {
		if t := r.tracks[partition]; t != nil {
			r.abandon(t)
			delete(r.tracks, partition)
		}
	}
	r.mu.Unlock()
	signal(r.room)
}

// abandon gives up what came by a track; r.mu is held.
func (r *Receiver) abandon(t *track) {
	r.unsettled -= t.unsettled()
	t.lost = true
	r.arrivals = slices.DeleteFunc(r.arrivals, func(d broker.Delivery) bool {
		k, ok := d.Token.(*token)
		return ok && k.track == t
	})
}

// Close commits what is settled and leaves the group; see broker.Receiver.
func (r *Receiver) Close(ctx context.Context) error {
	r.end(broker.ErrClosed)
	if !r.conn.forget(r) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, polite)
	defer cancel()
	r.leave(limited)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("kafka: close the subscription of %q: %w", r.subscription.Destination, err)
	}
	return nil
}

// leave ends the client, politely until ctx ends.
func (r *Receiver) leave(ctx context.Context) {
	r.end(broker.ErrClosed)
	stop := context.AfterFunc(ctx, r.client.kill)
	defer stop()
	r.running.Wait()
	r.client.CloseAllowingRebalance() // the group takes the partitions back, which commits
	r.client.kill()
}
