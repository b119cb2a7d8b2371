package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

const (
	// pullExpires is how long the server keeps a request for messages.
	pullExpires = 30 * time.Second
	// pullBeat is how often the server says that it still has the request.
	pullBeat = 5 * time.Second
	// arrivingSpare is the room for messages of the server's own beside those that
	// were asked for.
	arrivingSpare = 256
)

// errSilent ends a subscription whose server has forgotten it.
var errSilent = errors.New("the server sends no heartbeats for the consumer: it may be deleted, or the user may not publish to $JS.API.CONSUMER.MSG.NEXT.>; subscribe again")

// keep reads what arrives, asks for more while there is room, and sends the
// heartbeats that keep what is not settled from coming again. It is the receiver's
// one goroutine and ends with it.
func (r *receiver) keep() {
	defer close(r.exited)
	ticker := time.NewTicker(min(r.beat, pullBeat))
	defer ticker.Stop()
	r.mu.Lock()
	r.lastSign = time.Now()
	r.mu.Unlock()
	var err error
	for err == nil {
		err = r.pull()
		if err != nil {
			break
		}
		select {
		case msg := <-r.arriving:
			r.mu.Lock()
			err = r.take(msg, time.Now())
			if err == nil {
				err = r.accept()
			}
			waits := len(r.buffer) > 0
			r.mu.Unlock()
			if waits {
				signal(r.arrived)
			}
		case <-r.kick:
		case now := <-ticker.C:
			err = r.tick(now)
		case <-r.done:
			return
		case <-r.c.done:
			err = r.c.Err()
		}
	}
	if ended := r.c.Err(); ended != nil {
		err = ended
	}
	if r.stop(err) {
		r.c.mu.Lock()
		delete(r.c.receivers, r)
		r.c.mu.Unlock()
		_ = r.sub.Unsubscribe()
	}
}

// accept takes everything that has arrived. It needs the lock.
func (r *receiver) accept() error {
	now := time.Now()
	for {
		select {
		case msg := <-r.arriving:
			if err := r.take(msg, now); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take takes one message, or a word of the server's own. It needs the lock.
func (r *receiver) take(msg *natsgo.Msg, now time.Time) error {
	r.lastSign = now
	if msg.Reply == "" {
		return r.status(msg)
	}
	h := &held{r: r, msg: msg, touched: now}
	r.link(h)
	r.buffer = append(r.buffer, h)
	r.asked = max(r.asked-1, 0)
	return nil
}

// status reads a word of the server's own. It needs the lock.
func (r *receiver) status(msg *natsgo.Msg) error {
	status, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	switch {
	case status == "100": // a heartbeat
		return nil
	case status == "404", status == "408", text == "Leadership Change", text == "Batch Completed":
	case status == "503":
		return errors.New("the server has no such consumer, or JetStream is not enabled there; subscribe again")
	default:
		return fmt.Errorf("the server ended the subscription: %s %s", status, text)
	}
	// The pull has ended with so many messages to go.
	if left, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages")); err == nil {
		r.asked = max(r.asked-left, 0)
	} else {
		r.asked = 0
	}
	return nil
}

// pull asks for messages: at once where none are asked for, else when the room is
// worth it. Only the keeper calls it: when it has exited no more pulls are sent.
func (r *receiver) pull() error {
	r.mu.Lock()
	n := r.room()
	if r.err != nil || n <= 0 || r.asked > 0 && 2*n < r.prefetch {
		r.mu.Unlock()
		return nil
	}
	r.asked += n
	r.askedAt = time.Now()
	r.mu.Unlock()
	request, err := json.Marshal(map[string]int64{"batch": int64(n), "expires": int64(pullExpires), "idle_heartbeat": int64(pullBeat)})
	if err != nil {
		return err
	}
	if err := r.c.nc.PublishRequest(r.next, r.inbox, request); err != nil {
		return r.c.reason(err)
	}
	return nil
}

// tick sends the heartbeats that are due and sees to it that the server is alive.
func (r *receiver) tick(now time.Time) error {
	r.mu.Lock()
	var due []*held
	for h := r.list.next; h != &r.list && now.Sub(h.touched) >= r.beat*9/10; h = r.list.next {
		h.touched = now
		r.unlink(h)
		r.link(h)
		due = append(due, h)
	}
	silent := r.asked > 0 && now.Sub(r.lastSign) > 3*pullBeat && now.Sub(r.askedAt) > 3*pullBeat
	if r.asked == 0 {
		r.lastSign = now
	}
	r.mu.Unlock()
	if silent {
		return errSilent
	}
	return r.write(context.Background(), due, beatWord)
}
