package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-go/waybill/broker"
)

var _ broker.Remover = (*conn)(nil)

// Remove deletes the Kafka topic of a queue or a topic, and the consumer group of a queue
// or of a topic's Group. Kafka refuses to delete a group whose last member has died without
// leaving it, until SessionTimeout is over. See broker.Remover.
func (c *conn) Remove(ctx context.Context, s broker.Subscription) error {
	limited, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	for _, name := range c.broker.candidates(s.Destination, s.Topic) {
		var problems []error
		if !s.Topic || s.Group != "" {
			problems = append(problems, c.deleteGroup(limited, groupOf(s.Group, name, s.Topic)))
		}
		if !s.Topic || s.Group == "" {
			problems = append(problems, c.deleteTopic(limited, name))
			c.forgetTopic(destination{s.Destination, s.Topic}, name)
		}
		if err := errors.Join(problems...); err != nil {
			return fmt.Errorf("kafka: remove %q: %w", s.Destination, err)
		}
	}
	return nil
}

// deleteGroup deletes a consumer group.
func (c *conn) deleteGroup(ctx context.Context, group string) error {
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = append(request.Groups, group)
	response, err := request.RequestWith(ctx, c.durable)
	if err != nil {
		return fmt.Errorf("delete the group %q: %w", group, err)
	}
	for _, said := range response.Groups {
		if err := kerr.ErrorForCode(said.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("delete the group %q: %w", group, err)
		}
	}
	return nil
}

// deleteTopic deletes a topic, and waits until the brokers no longer know it.
func (c *conn) deleteTopic(ctx context.Context, name string) error {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = int32(requestTime.Milliseconds() / 2)
	request.TopicNames = append(request.TopicNames, name)
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, c.durable)
	if err != nil {
		return fmt.Errorf("delete the topic %q: %w", name, err)
	}
	for _, said := range response.Topics {
		switch err := kerr.ErrorForCode(said.ErrorCode); {
		case isMissing(err):
			return nil
		case err != nil:
			return fmt.Errorf("delete the topic %q: %w", name, err)
		}
	}
	for wait := appearPause; ; wait = min(2*wait, gonePause) {
		if _, err := c.topicID(ctx, name); isMissing(err) {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("the topic %q was deleted and does not go: %w", name, err)
		}
	}
}
