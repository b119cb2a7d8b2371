package store

import (
	waybill "github.com/waybill-go/waybill"
)

// Status values of a row of qmessage.
const (
	Pending  = 0 // waits for its confirmation
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
	NotBefore   int64 // µs
	LastError   string
}

// Mark is what a guard needs to know of one message.
type Mark struct {
	ID          waybill.ID
	Producer    string
	Destination string
	Key         string
	TimeStamp   int64
}

// Verdict is a guard's word on one mark.
type Verdict int

const (
	// Fresh: recorded now; the handler is to run in the same transaction.
	Fresh Verdict = iota
	// Duplicate: this very message took effect before.
	Duplicate
	// Superseded: a newer state of its key took effect before.
	Superseded
	// Forgotten, of Once alone: there is no record, but the message is below its producer's
	// horizon, so nothing can tell whether it took effect. The transaction holds a
	// record of it and must be rolled back.
	Forgotten
)

// Lease is what the database says about a relay's lease.
type Lease struct {
	Holder  string // "" where there is none
	Left    int64  // µs until it ends; 0 or less once ended
	Cursor  int64  // rows up to this id were read by the last holder
	Present bool   // there is a lease row at all
}

// Count is the number of rows of one destination and status.
type Count struct {
	Destination string
	Topic       bool
	Status      int
	Rows        int64
	Oldest      waybill.ID // the lowest message id: its Time tells the age
	MaxRetry    int
}

// Horizon is what a consumer knows about forgetting one producer's messages.
type Horizon struct {
	Producer string
	ID       waybill.ID // everything below it has been forgotten; zero: nothing
	Floor    waybill.ID // the highest floor that the producer has told; zero: none
}
