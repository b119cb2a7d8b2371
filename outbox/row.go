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

// row checks a message and makes its row.
func (o *Outbox) row(m *waybill.Message) (store.NewRow, *waybill.MessageError) {
	if err := o.check(m); err != nil {
		return store.NewRow{}, err
	}
	row := store.NewRow{ID: m.ID, Destination: m.Destination, Topic: m.Topic, Key: m.Key, TimeStamp: m.TimeStamp, Body: m.Body}
	if row.Body == nil {
		row.Body = []byte{}
	}
	if len(m.Headers) > 0 {
		headers, err := json.Marshal(m.Headers)
		if err != nil {
			return store.NewRow{}, invalid("Headers", err)
		}
		row.Headers = string(headers)
	}
	delayed := m.NotBefore.After(time.Now())
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
			row.ID = waybill.NewID()
		}
	}
	return row, nil
}

// check returns why a message cannot be sent, without its place among others, or nil.
func (o *Outbox) check(m *waybill.Message) *waybill.MessageError {
	if err := waybill.CheckDestination(m.Destination); err != nil {
		return invalid("Destination", err)
	}
	if err := waybill.CheckKey(m.Key); err != nil {
		return invalid("Key", err)
	}
	if m.TimeStamp < 0 {
		return invalid("TimeStamp", fmt.Errorf("is %d; a version of your own is above 0", m.TimeStamp))
	}
	if !m.ID.IsZero() && !m.ID.IsV7() {
		return invalid("ID", fmt.Errorf("%s is no UUIDv7; leave it zero or use waybill.NewID", m.ID))
	}
	if len(m.Body) > o.maxBody {
		err := invalid("Body", fmt.Errorf("has %d bytes, the limit is %d (outbox.Options.MaxBody); send a reference to large content instead", len(m.Body), o.maxBody))
		err.TooLarge = true
		return err
	}
	for name, value := range m.Headers {
		if err := waybill.CheckHeader(name, value); err != nil {
			return invalid("Headers", err)
		}
	}
	if m.NotBefore.Year() > 9999 {
		return invalid("NotBefore", errors.New("is after the year 9999"))
	}
	return nil
}

// invalid says what is wrong with one field of a message.
func invalid(field string, err error) *waybill.MessageError {
	return &waybill.MessageError{Field: field, Reason: err.Error()}
}
