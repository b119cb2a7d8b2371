package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-go/waybill/broker"
)

// destination is a destination.
type destination struct {
	name  string
	topic bool
}

// lookupKey is a destination, and whether its Kafka topic is only to be looked for.
type lookupKey struct {
	destination
	mustExist bool
}

// lookup is the search for the Kafka topic of a destination, which may have ended.
type lookup struct {
	done chan struct{} // closed when name and err are known
	name string
	err  error
}

// maxTopics is how many destinations' topics are remembered at least. Of any other one the
// cluster is asked again.
const maxTopics = 10_000

// requestTime bounds one conversation about topics.
const requestTime = 30 * time.Second

// resolve returns the Kafka topic of a destination, which it makes where it does not exist
// and need not. It asks once for each conn; several callers at the same time wait for one
// answer.
func (c *conn) resolve(ctx context.Context, k lookupKey) (string, error) {
	c.mu.Lock()
	l, ok := c.topics.Get(k)
	if !ok {
		if c.err != nil {
			defer c.mu.Unlock()
			return "", c.err
		}
		l = &lookup{done: make(chan struct{})}
		c.topics.Set(k, l)
		c.running.Go(func() {
			alive, cancel := c.alive()
			defer cancel()
			limited, cancel := context.WithTimeout(alive, requestTime)
			defer cancel()
			if l.name, l.err = c.find(limited, k.destination, !k.mustExist); l.err != nil {
				c.unresolve(k.destination) // to try again with the next message
			}
			close(l.done)
		})
	}
	c.mu.Unlock()
	select {
	case <-l.done:
	default:
		select {
		case <-l.done:
		case <-ctx.Done():
			return "", ctx.Err()
		case <-c.done:
			return "", c.Err()
		}
	}
	if l.err != nil {
		return "", fmt.Errorf("kafka: the topic of %q: %w", k.name, l.err)
	}
	return l.name, nil
}

// unresolve forgets what is known of a destination.
func (c *conn) unresolve(d destination) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topics.Delete(lookupKey{d, false})
	c.topics.Delete(lookupKey{d, true})
}

// find looks for the topic of a destination, and with create makes one where there is none.
func (c *conn) find(ctx context.Context, d destination, create bool) (string, error) {
	names := c.broker.candidates(d.name, d.topic)
	for _, name := range names {
		_, err := c.topicID(ctx, name)
		if err == nil {
			return name, nil
		}
		if !isMissing(err) {
			return "", err
		}
	}
	if c.broker.options.NoCreate || !create {
		return "", fmt.Errorf("%w: %w", broker.ErrNoQueue, kerr.UnknownTopicOrPartition)
	}
	var problem error
	for _, name := range names {
		problem = c.create(ctx, name)
		if problem == nil || errors.Is(problem, kerr.TopicAlreadyExists) {
			return name, c.appear(ctx, name)
		}
		if !errors.Is(problem, kerr.InvalidTopicException) {
			break // only over a name that collides with another one does the next one help
		}
	}
	return "", problem
}

const (
	// appearPause is the pause between the first two requests about a topic that was just
	// made; the pauses grow up to gonePause.
	appearPause = 5 * time.Millisecond
	// gonePause is the pause between two requests about a topic that seems to be gone, and
	// goneTimes how often the answer must be that it is: one broker may know what another
	// does not know yet.
	gonePause = 250 * time.Millisecond
	goneTimes = 8
)

// appear waits until the brokers know a topic that was just made: until then they say
// that it does not exist.
func (c *conn) appear(ctx context.Context, name string) error {
	for wait := appearPause; ; wait = min(2*wait, gonePause) {
		_, ready, err := c.topic(ctx, name)
		if ready || err != nil && !isMissing(err) {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("the topic %q was made and does not appear: %w", name, err)
		}
	}
}

// isGone reports whether the topic with this id was deleted; it asks several times. A topic
// of the same name with another id is another topic.
func (c *conn) isGone(ctx context.Context, name string, id [16]byte) bool {
	for range goneTimes {
		now, err := c.topicID(ctx, name)
		if err == nil {
			return now != id && id != [16]byte{}
		}
		if !isMissing(err) || pause(ctx, gonePause) != nil {
			return false
		}
	}
	return true
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// topicID asks the cluster for the id of a topic. Where there is none, isMissing is true for
// the error.
func (c *conn) topicID(ctx context.Context, name string) (id [16]byte, err error) {
	id, _, err = c.topic(ctx, name)
	return id, err
}

// topic is topicID that also reports whether every partition has a leader.
func (c *conn) topic(ctx context.Context, name string) (id [16]byte, ready bool, err error) {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, c.durable)
	if err != nil {
		return id, false, err
	}
	if len(response.Topics) != 1 {
		return id, false, fmt.Errorf("the broker answers about %d topics in place of %q", len(response.Topics), name)
	}
	said := &response.Topics[0]
	err = kerr.ErrorForCode(said.ErrorCode)
	ready = err == nil && !slices.ContainsFunc(said.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 })
	if errors.Is(err, kerr.LeaderNotAvailable) {
		err = nil // it is there, and was just made
	}
	return said.TopicID, ready, err
}

// create makes a topic.
func (c *conn) create(ctx context.Context, name string) error {
	o := &c.broker.options
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic = name
	topic.NumPartitions, topic.ReplicationFactor = -1, -1
	if o.Partitions > 0 {
		topic.NumPartitions = int32(o.Partitions)
	}
	if o.Replication > 0 {
		topic.ReplicationFactor = int16(o.Replication)
	}
	if o.MaxMessage > defaultMaxMessage {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name = "max.message.bytes"
		config.Value = kmsg.StringPtr(strconv.Itoa(o.MaxMessage + overhead))
		topic.Configs = append(topic.Configs, config)
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = int32(requestTime.Milliseconds() / 2)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, c.durable)
	if err != nil {
		return err
	}
	if len(response.Topics) != 1 {
		return fmt.Errorf("the broker answers about %d topics in place of %q", len(response.Topics), name)
	}
	made := &response.Topics[0]
	err = kerr.ErrorForCode(made.ErrorCode)
	if err != nil && made.ErrorMessage != nil {
		return fmt.Errorf("%w: %s", err, *made.ErrorMessage)
	}
	return err
}

// isMissing reports whether an error means that a topic does not exist.
func isMissing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}
