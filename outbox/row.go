package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// row makes the row of a message. now is the time by the database's clock, where that is
// known. It returns all that is wrong with the message.
func (o *Outbox) row(m *waybill.Message, now time.Time, known bool) (store.NewRow, []*waybill.MessageError) {
	wrong := o.check(m)
	row := store.NewRow{ID: m.ID, Destination: m.Destination, Topic: m.Topic, Key: m.Key, TimeStamp: m.TimeStamp, Body: m.Body}
	if isReceived(m) {
		row.ID, row.TimeStamp = waybill.ID{}, 0
	}
	if known && row.ID.IsV7() {
		if err := checkAge(row.ID, now, m.NotBefore); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return store.NewRow{}, wrong
	}
	if row.Body == nil {
		row.Body = []byte{}
	}
	if len(m.Headers) > 0 {
		headers, err := json.Marshal(m.Headers)
		if err != nil {
			return store.NewRow{}, []*waybill.MessageError{invalid("Headers", err)}
		}
		row.Headers = string(headers)
	}
	delayed := m.NotBefore.After(now)
	if delayed {
		row.NotBefore = m.NotBefore.UnixMicro()
	}
	if mutant.ProcessClock && m.Key != "" && row.TimeStamp == 0 {
		row.TimeStamp = time.Now().UnixMicro()
		if !m.ID.IsZero() {
			row.TimeStamp = m.ID.Time().UnixMicro() // minted by that clock, too
		}
	}
	if row.ID.IsZero() {
		if delayed {
			row.ID = waybill.NewIDAt(m.NotBefore)
		} else {
			row.ID = mint(now)
		}
	}
	return row, nil
}

// isReceived reports whether a message is one that a handler was given: it has what the
// inbox alone sets. Sent on, it is a message of its own: with the id of the one that it
// comes from it would be taken for a copy of that, and its version is another
// destination's.
func isReceived(m *waybill.Message) bool {
	return m.Producer != "" || m.Sequence != 0 || m.Attempt != 0 || m.Failures != 0
}

// maxAge is how far an id's time may be from the database's clock, or from the time of a
// delayed message. It is less than any consumer should remember for. The tables refuse what
// is further off, too.
const maxAge = 12 * time.Hour

// checkAge returns why a caller's own id cannot be a message's, or nil.
func checkAge(id waybill.ID, now, notBefore time.Time) *waybill.MessageError {
	latest := now
	if notBefore.After(now) {
		latest = notBefore
	}
	at := id.Time()
	switch {
	case at.Before(now.Add(-maxAge)):
		return invalid("ID", fmt.Errorf("%s was minted %v before the database's clock, more than %v: consumers may have forgotten messages of that age; leave it zero", id, now.Sub(at).Round(time.Minute), maxAge))
	case at.After(latest.Add(maxAge)):
		return invalid("ID", fmt.Errorf("%s was minted for a time %v after the database's clock or NotBefore, more than %v; leave it zero", id, at.Sub(latest).Round(time.Minute), maxAge))
	}
	return nil
}

// check returns why a message cannot be sent, all of it, without its place among others.
func (o *Outbox) check(m *waybill.Message) (wrong []*waybill.MessageError) {
	refuse := func(field string, err error) {
		if err != nil {
			wrong = append(wrong, invalid(field, err))
		}
	}
	refuse("Destination", waybill.CheckDestination(m.Destination))
	refuse("Key", waybill.CheckKey(m.Key))
	if m.TimeStamp < 0 {
		refuse("TimeStamp", fmt.Errorf("is %d; a version of your own is above 0", m.TimeStamp))
	}
	if !m.ID.IsZero() && !m.ID.IsV7() {
		refuse("ID", fmt.Errorf("%s is no UUIDv7; leave it zero or use waybill.NewID", m.ID))
	}
	if len(m.Body) > o.maxBody {
		err := invalid("Body", fmt.Errorf("has %d bytes, the limit is %d (outbox.Options.MaxBody); send a reference to large content instead", len(m.Body), o.maxBody))
		err.TooLarge = true
		wrong = append(wrong, err)
	}
	headers := waybill.CheckHeaders(m.Headers)
	if several, joined := headers.(interface{ Unwrap() []error }); joined {
		for _, err := range several.Unwrap() {
			refuse("Headers", err)
		}
	} else {
		refuse("Headers", headers)
	}
	if m.NotBefore.Year() > 9999 {
		refuse("NotBefore", errors.New("is after the year 9999"))
	}
	return wrong
}

// invalid says what is wrong with one field of a message.
func invalid(field string, err error) *waybill.MessageError {
	return &waybill.MessageError{Field: field, Reason: err.Error()}
}

// maxFaults is how many faults of one Send are named.
const maxFaults = 20

// faults are all that is wrong with the messages of one Send.
type faults struct {
	named []error
	more  int
}

// add adds what is wrong with the message at a place.
func (f *faults) add(index int, destination string, wrong []*waybill.MessageError) {
	for _, err := range wrong {
		if len(f.named) == maxFaults {
			f.more++
			continue
		}
		err.Index, err.Destination = index, destination
		f.named = append(f.named, err)
	}
}

// err is nil, or the one fault that there is, or all that are named.
func (f *faults) err() error {
	switch {
	case len(f.named) == 1:
		return f.named[0]
	case f.more > 0:
		f.named = append(f.named, fmt.Errorf("waybill: and %d faults more", f.more))
	}
	return errors.Join(f.named...)
}
