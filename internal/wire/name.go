package wire

import (
	"cmp"
	"slices"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Clients and proxies that take headers for HTTP's change the case of their names: Messageid
// and Businessmark over NATS. Which of them are Waybill's own is decided here alone, for every
// broker; adapters leave names as they come.

// ownNames are Waybill's own names. In another case, the first four are still nothing that
// others would choose for something else; the others are, such as Timestamp and Producer.
var ownNames = []string{MessageID, BusinessMark, ReceiptTo, Kind, TimeStamp, Sequence, Producer, Attempt, Failures, Floor}

// unmistakable is how many of ownNames count in any case. Of these, messageId does so with a
// usable id only.
const unmistakable = 4

// otherCase finds the name of Waybill's own that a header's name is in another case, by its
// place in ownNames; -1 where it is none.
func otherCase(name string) int {
	if len(name) < len(Floor) || len(name) > len(BusinessMark) {
		return -1
	}
	return slices.IndexFunc(ownNames, func(own string) bool {
		return len(name) == len(own) && name != own && strings.EqualFold(name, own)
	})
}

// recased is a header whose name is one of Waybill's own in another case.
type recased struct {
	own    int // its place in ownNames
	header broker.Header
}

// recasedHeaders reads the headers of m whose names are Waybill's own in another case. Where
// the id's is, all cases were changed on the way, and each of these headers counts. A header
// that is there in its own case too, or that does not count, is the sender's. Of several, the
// first by name counts: brokers bring them in any order.
func (d *decoder) recasedHeaders(m *broker.Message, all []recased) {
	slices.SortFunc(all, func(a, b recased) int {
		return cmp.Or(cmp.Compare(a.own, b.own), cmp.Compare(a.header.Name, b.header.Name), cmp.Compare(a.header.Value, b.header.Value))
	})
	changed, last := false, -1
	for _, r := range all { // the id comes first
		name := ownNames[r.own]
		counts := changed || r.own < unmistakable
		if name == MessageID {
			id, err := waybill.ParseID(r.header.Value)
			counts = err == nil && id.IsV7()
		}
		if _, isThere := m.Header(name); isThere || !counts || r.own == last {
			d.senders(r.header.Name, r.header.Value)
			continue
		}
		last = r.own
		changed = changed || name == MessageID
		d.own(broker.Header{Name: name, Value: r.header.Value})
	}
}

// KindOf returns the value of the header that says what a message is that is not a sender's,
// and whether there is one: in its own case, or else in another.
func KindOf(m *broker.Message) (kind string, ok bool) {
	if kind, ok = m.Header(Kind); ok {
		return kind, true
	}
	for i := range m.Headers {
		if strings.EqualFold(m.Headers[i].Name, Kind) {
			return m.Headers[i].Value, true
		}
	}
	return "", false
}
