package survey

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

const (
	// lookPage is how many rows are read at a time; firstPage where time is short.
	lookPage, firstPage = 1000, 500
	// lookLimit is how many rejected messages of each side a look takes in.
	lookLimit = 10_000
)

// Rejected is one rejected message as it was seen.
type Rejected struct {
	Side        store.Side
	MessageID   waybill.ID
	Row         int64 // in the outbox or n_rejected
	Seen        int64 // what changes when it is sent again: NotBefore or, at a consumer, Tries
	Destination string
	Topic       bool
	Consumer    string // who has rejected it, as far as is known
	Key         string
	Reason      string
	At          time.Time // when it was sent or, at a consumer, kept
}

// Group is what identifies the group of a rejected message: 16 hexadecimal digits.
func (x *Rejected) Group() string {
	h := sha256.New()
	for _, part := range []string{string(x.Side), x.Destination, map[bool]string{true: "topic"}[x.Topic], x.Consumer, Fold(x.Reason)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Selection says which rejected messages are meant: those that all of its fields allow. An
// empty one means all.
type Selection struct {
	Side        store.Side   `json:"side,omitempty"` // producer or consumer; "" for both
	Group       string       `json:"group,omitempty"`
	Destination string       `json:"destination,omitempty"`
	Consumer    string       `json:"consumer,omitempty"`
	Text        string       `json:"text,omitempty"` // a part of the reason, in any case
	MessageIDs  []waybill.ID `json:"message_ids,omitempty"`
}

// Allows reports whether a message is meant.
func (s *Selection) Allows(x *Rejected) bool {
	return (s.Side == "" || s.Side == x.Side) &&
		(s.Destination == "" || s.Destination == x.Destination) &&
		(s.Consumer == "" || s.Consumer == x.Consumer) &&
		(s.Text == "" || containsFold(x.Reason, s.Text)) &&
		(len(s.MessageIDs) == 0 || slices.Contains(s.MessageIDs, x.MessageID)) &&
		(s.Group == "" || s.Group == x.Group())
}

// containsFold reports whether text has part in it, in any case.
func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// Group is rejected messages that were rejected for the same reason, but for what changes
// from message to message (Fold).
type Group struct {
	ID          string     `json:"id"` // for Selection.Group
	Side        store.Side `json:"side"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Consumer    string     `json:"consumer,omitempty"` // as far as is known
	Reason      string     `json:"reason"`             // folded
	Messages    int        `json:"messages"`
	First       time.Time  `json:"first"` // when the oldest was sent or, at a consumer, kept
	Last        time.Time  `json:"last"`
	Example     Example    `json:"example"` // the newest
}

// Example is one message of a Group.
type Example struct {
	MessageID waybill.ID `json:"message_id"`
	Key       string     `json:"key,omitempty"`
	Reason    string     `json:"reason"`
}

// Groups are the groups of what a look took in.
type Groups struct {
	Groups  []Group `json:"groups"`  // the largest first
	Looked  int     `json:"looked"`  // rejected messages that were looked at
	Stopped bool    `json:"stopped"` // there are more than these
}

// Groups looks at the first 10,000 rejected messages of each side, and groups those that the
// selection means. Where within is above 0 it begins with no page of either side any more
// after that time.
func (r *Reader) Groups(ctx context.Context, s *Selection, within time.Duration) (*Groups, error) {
	g := &Groups{Groups: []Group{}}
	type key struct {
		side             store.Side
		lane             lane
		consumer, reason string
	}
	byKey := map[key]*Group{}
	stopped, err := r.eachRejected(ctx, s.Side, bounds{lookLimit, within}, func(x *Rejected) bool {
		g.Looked++
		if !s.Allows(x) {
			return true
		}
		of := key{x.Side, lane{x.Destination, x.Topic}, x.Consumer, Fold(x.Reason)}
		group := byKey[of]
		if group == nil {
			group = &Group{
				ID: x.Group(), Side: x.Side, Destination: x.Destination, Topic: x.Topic, Consumer: x.Consumer, Reason: of.reason,
				First: x.At, Last: x.At,
			}
			byKey[of] = group
		}
		group.Messages++
		if !x.At.After(group.First) {
			group.First = x.At
		}
		if !x.At.Before(group.Last) {
			group.Last, group.Example = x.At, Example{x.MessageID, x.Key, x.Reason}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	g.Stopped = stopped
	for _, group := range byKey {
		g.Groups = append(g.Groups, *group)
	}
	slices.SortFunc(g.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID))
	})
	return g, nil
}

// EachRejected gives visit the rejected messages of a side ("" for both), at most limit of
// each, until it returns false: in the order of store.Queue.GlanceRejected, which is that of
// age but on MySQL, and consumers' as they were kept. stopped says that there are more than
// limit.
func (r *Reader) EachRejected(ctx context.Context, side store.Side, limit int, visit func(*Rejected) bool) (stopped bool, err error) {
	return r.eachRejected(ctx, side, bounds{rows: limit}, visit)
}

// bounds end a walk through the rejected messages of one side.
type bounds struct {
	rows   int
	within time.Duration // 0 for none
}

func (r *Reader) eachRejected(ctx context.Context, side store.Side, b bounds, visit func(*Rejected) bool) (stopped bool, err error) {
	sides, err := r.Sides(ctx)
	if err != nil {
		return false, err
	}
	ended := false
	until := func(x *Rejected) bool {
		ended = ended || !visit(x)
		return !ended
	}
	if sides.Producer && side != store.Consumer {
		answered, err := r.queue.Answered(ctx, waybill.ID{}, 1)
		if err != nil {
			return false, err
		}
		if stopped, err = b.each(r.inOutbox(ctx, len(answered) > 0), until); err != nil {
			return false, err
		}
	}
	if sides.Consumer && side != store.Producer && !ended {
		more, err := b.each(r.atConsumers(ctx), until)
		if err != nil {
			return false, err
		}
		stopped = stopped || more
	}
	return stopped && !ended, nil
}

// each calls visit for what next returns, a page at a time, until that is less than was asked
// for, visit returns false, or the bounds are reached; stopped says that there is more. What
// next has for a row that is not meant is nil.
func (b bounds) each(next func(limit int) ([]*Rejected, error), visit func(*Rejected) bool) (stopped bool, err error) {
	began, size := time.Now(), lookPage
	if b.within > 0 {
		size = firstPage
	}
	for n := 0; n < b.rows && (n == 0 || b.within == 0 || time.Since(began) < b.within); size = min(2*size, lookPage) {
		page, err := next(size)
		if err != nil {
			return false, err
		}
		for _, x := range page {
			if n++; n > b.rows {
				return true, nil
			}
			if x != nil && !visit(x) {
				return false, nil
			}
		}
		if len(page) < size {
			return false, nil
		}
	}
	page, err := next(1)
	return len(page) > 0, err
}

// inOutbox reads the outbox's rejected rows. answered says that there are named consumers'
// answers.
func (r *Reader) inOutbox(ctx context.Context, answered bool) func(limit int) ([]*Rejected, error) {
	var after store.Place
	return func(limit int) ([]*Rejected, error) {
		rows, err := r.queue.GlanceRejected(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		answers := map[waybill.ID][]store.Answer{}
		if answered {
			if answers, err = r.answers(ctx, rows); err != nil {
				return nil, err
			}
		}
		page := make([]*Rejected, len(rows))
		for i := range rows {
			page[i] = inOutbox(&rows[i], answers[rows[i].MessageID])
			after = rows[i].Place()
		}
		return page, nil
	}
}

// answers reads what named consumers have answered, by message.
func (r *Reader) answers(ctx context.Context, rows []store.Row) (map[waybill.ID][]store.Answer, error) {
	ids := make([]waybill.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].MessageID
	}
	all, err := r.queue.Answers(ctx, ids)
	answers := map[waybill.ID][]store.Answer{}
	for _, a := range all {
		answers[a.MessageID] = append(answers[a.MessageID], a)
	}
	return answers, err
}

// inOutbox is a rejected row, with the reasons of those named consumers that have rejected it.
// Without any the reason begins with the consumer's name, unless no broker can carry the
// message.
func inOutbox(row *store.Row, answers []store.Answer) *Rejected {
	x := &Rejected{
		Side: store.Producer, MessageID: row.MessageID, Row: row.ID, Seen: row.NotBefore, Destination: row.Destination,
		Topic: row.Topic, Key: row.Key, Reason: row.LastError, At: row.MessageID.Time().UTC(),
	}
	var consumers, reasons []string
	for _, a := range answers {
		if a.Rejected {
			consumers, reasons = append(consumers, a.Consumer), append(reasons, a.Reason)
		}
	}
	if len(consumers) > 0 {
		x.Consumer, x.Reason = strings.Join(consumers, ", "), strings.Join(slices.Compact(reasons), "; ")
	} else if name, reason, ok := strings.Cut(row.LastError, ": "); ok && waybill.CheckConsumer(name) == nil {
		x.Consumer, x.Reason = name, reason
	}
	return x
}

// atConsumers reads what consumers keep, of which some may wait to be handled again.
func (r *Reader) atConsumers(ctx context.Context) func(limit int) ([]*Rejected, error) {
	after := int64(0)
	return func(limit int) ([]*Rejected, error) {
		rows, err := r.keeper.Glance(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		page := make([]*Rejected, len(rows))
		for i := range rows {
			if after = rows[i].ID; rows[i].Status == store.Rejected {
				page[i] = atConsumer(&rows[i])
			}
		}
		return page, nil
	}
}

func atConsumer(k *store.Kept) *Rejected {
	return &Rejected{
		Side: store.Consumer, MessageID: k.MessageID, Row: k.ID, Seen: int64(k.Tries), Destination: k.Destination, Topic: k.Topic,
		Consumer: k.Consumer, Key: k.Key, Reason: k.Reason, At: time.UnixMicro(k.KeptAt).UTC(),
	}
}

// Resend has a rejected message sent again or, at a consumer, handled again, if it is as it
// was seen; false says that somebody else has changed it.
func (r *Reader) Resend(ctx context.Context, x *Rejected) (bool, error) {
	if x.Side == store.Consumer {
		return r.keeper.ResendSeen(ctx, x.Row, int(x.Seen))
	}
	return r.queue.ResendSeen(ctx, x.MessageID, x.Seen)
}

// Discard deletes a rejected message, if it is as it was seen; see Resend.
func (r *Reader) Discard(ctx context.Context, x *Rejected) (bool, error) {
	if x.Side == store.Consumer {
		return r.keeper.DiscardSeen(ctx, x.Row, int(x.Seen))
	}
	return r.queue.DiscardSeen(ctx, x.MessageID, x.Seen)
}
