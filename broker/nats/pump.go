package nats

import (
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
	// arrivingSpare is the room for status messages, beside that for the messages that
	// were asked for.
	arrivingSpare = 256
)

// pump reads what arrives, asks for more while there is room, and sends heartbeats. It is
// the receiver's one goroutine and ends with it.
func (r *receiver) pump() {
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
		case <-r.wake:
		case now := <-ticker.C:
			err = r.heartbeat(now)
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

// take takes one message, or a status message of the server's. It needs the lock.
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

// status reads a status message. It needs the lock.
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
	// The request has ended, and so many messages of it will not come.
	if left, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages")); err == nil {
		r.asked = max(r.asked-left, 0)
	} else {
		r.asked = 0
	}
	return nil
}

// pull asks for messages: at once where none have been asked for, or else when there is room
// for half of Prefetch. Only the pump calls it, so none are asked for after its end.
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
