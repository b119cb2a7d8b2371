package waybill

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// ID is a message's identity: a UUIDv7 (RFC 9562), so that IDs compare by the
// time that they were minted for. The zero ID is no message's.
type ID [16]byte

// lastTick is the newest tick (see tick) that NewID has used in this process.
var lastTick atomic.Uint64

// NewID mints an ID of the present time, by the host's clock; Send mints its own by the
// database's. IDs of one process are strictly increasing, also
// when the wall clock steps back. It is safe for concurrent use.
func NewID() ID {
	now := tick(time.Now())
	for {
		last := lastTick.Load()
		next := max(now, last+1)
		if lastTick.CompareAndSwap(last, next) {
			return idFromTick(next)
		}
	}
}

// NewIDAt mints an ID for the time t; two of one microsecond are in no promised
// order. Send uses it for delayed messages: an ID minted for the time at which a
// message becomes due keeps the message from holding back its producer's floor
// until then.
func NewIDAt(t time.Time) ID { return idFromTick(tick(t)) }

// tick is t in milliseconds with twelve more bits below them for the fraction:
// method 3 of RFC 9562, section 6.2.
func tick(t time.Time) uint64 {
	us := max(t.UnixMicro(), 0)
	ms, frac := uint64(us/1000), uint64(us%1000)
	return ms<<12 | frac<<12/1000
}

func idFromTick(t uint64) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], t>>12<<16|0x7000|t&0xfff)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()&^(3<<62)|2<<62)
	return id
}

// LowestID is the lowest ID that could have been minted in the millisecond of t: an
// ID is below it if and only if it was minted for an earlier one.
func LowestID(t time.Time) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], uint64(max(t.UnixMilli(), 0))<<16|0x7000)
	id[8] = 0x80
	return id
}

// ParseID parses the textual form of a UUID of any version, in lower or upper case:
// 32 hexadecimal digits in five groups, without braces.
func ParseID(s string) (ID, error) {
	var id ID
	if err := id.UnmarshalText([]byte(s)); err != nil {
		return ID{}, err
	}
	return id, nil
}

// String returns the ID as a UUID in lower case.
func (id ID) String() string {
	var text [36]byte
	id.encode(text[:])
	return string(text[:])
}

// AppendText appends the ID as a UUID in lower case to b.
func (id ID) AppendText(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, make([]byte, 36)...)
	id.encode(b[n:])
	return b, nil
}

func (id ID) encode(text []byte) {
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
}

// IsZero reports whether the ID is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// IsV7 reports whether the ID is a UUIDv7, as every message's must be.
func (id ID) IsV7() bool { return id[6]>>4 == 7 && id[8]>>6 == 2 }

// Time returns the time that the ID was minted for, in whole milliseconds. It
// is meaningless for an ID that is no UUIDv7.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16))
}

// Compare returns -1, 0 or 1 as id is lower than, equal to or higher than other.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return fmt.Errorf("waybill: %.50q is no UUID", text)
	}
	var digits [32]byte
	copy(digits[0:], text[0:8])
	copy(digits[8:], text[9:13])
	copy(digits[12:], text[14:18])
	copy(digits[16:], text[19:23])
	copy(digits[20:], text[24:36])
	var parsed ID
	if _, err := hex.Decode(parsed[:], digits[:]); err != nil {
		return fmt.Errorf("waybill: %.50q is no UUID", text)
	}
	*id = parsed
	return nil
}

// Scan implements sql.Scanner for columns that hold a UUID as text or as 16 bytes.
// NULL becomes the zero ID.
func (id *ID) Scan(value any) error {
	switch v := value.(type) {
	case string:
		return id.UnmarshalText([]byte(v))
	case []byte:
		if len(v) == 16 {
			copy(id[:], v)
			return nil
		}
		return id.UnmarshalText(v)
	case [16]byte:
		*id = v
		return nil
	case nil:
		*id = ID{}
		return nil
	}
	return fmt.Errorf("waybill: cannot read an ID from a %T", value)
}

// Value implements driver.Valuer: the textual form.
func (id ID) Value() (driver.Value, error) { return id.String(), nil }
