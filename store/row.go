package store

import (
	waybill "github.com/waybill-go/waybill"
)

// Status values of a row of qmessage.
const (
	Pending  = 0 // waits for its receipt or, where it is Accepted, the broker's confirmation
	Rejected = 2 // kept for a person; not sent
)

// NewRow is a message to insert, checked and with its ID.
type NewRow struct {
	ID          waybill.ID
	Destination string
	Topic       bool
	Key         string
	TimeStamp   int64  // the caller's version; 0: from the key's row and the clock
	Headers     string // a JSON object of strings; "" for none
	Body        []byte // never nil
	NotBefore   int64  // µs; 0: at once
}

// Row is a row of qmessage.
type Row struct {
	ID          int64 // scan order
	MessageID   waybill.ID
	Destination string
	Topic       bool
	Key         string
	Sequence    int64
	TimeStamp   int64
	Headers     string
	Body        []byte
	Status      int
	Retry       int   // copies sent beyond the first
	Failures    int   // tries that a consumer's handler has failed
	NotBefore   int64 // µs: not sent earlier or, of a rejected row, when it was rejected
	LastError   string
}
