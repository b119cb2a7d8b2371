package torture

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// A parcel is a message whose body is any bytes at all, and whose headers say which parcel
// it is; the key of most is a code. Its producer notes what it has packed in its journal, as
// a digest, and its consumer what has arrived.

// parcelCodes are keys that are easily taken for each other.
var parcelCodes = []string{"a", "A", "ä", "a ", " a", "e\u0301", "\u00e9", "Ключ 7 🦊 \u2028 %20:\\"}

// The headers of a parcel. Besides, there are headers without a meaning, whose names begin
// with parcelHeader too.
const (
	parcelHeader  = "parcel"
	parcelToken   = parcelHeader + "Token"
	parcelVersion = parcelHeader + "Version" // counts the parcels of a code
	parcelDue     = parcelHeader + "Due"
)

// The bodies of parcels: of so many, one is large. NATS takes no more than a mebibyte by
// default, with the headers.
const (
	parcelOneIn     = 5 // of so many transactions one sends a parcel
	largeOneIn      = 60
	largest         = 1_000_000
	mostHeaders     = 40
	longestInnocent = 600
)

// parcelValues are values that somebody on the way could change.
var parcelValues = []string{
	"", " ", " before and after ", "a:b\\c\\n%41+&<>\"'", "Größe: 日本語 ✓", "🦊🏳️‍🌈", "שלום \u202e abc",
	"e\u0301 \u00e9", "\u2028", "\ufeff", "\ufffd", "null", "0x00", strings.Repeat("é", 1500), "=?utf-8?q?a?=",
}

// pack makes a parcel of a code, or without one.
func (w *worker) pack(p payload, code string) waybill.Message {
	m := w.message(w.cmd.Destinations.Parcels, code, p)
	m.Body = parcelBody(w.dice)
	m.Headers = map[string]string{
		"content-type": "application/x-parcel; of=\"anything\"",
		parcelToken:    p.Token, parcelVersion: strconv.FormatInt(p.Version, 10), parcelDue: strconv.FormatInt(p.Due, 10),
	}
	for i := range w.dice.IntN(mostHeaders) {
		m.Headers[fmt.Sprintf("%s-%d.$x_Y", parcelHeader, i)] = parcelValues[w.dice.IntN(len(parcelValues))]
	}
	return m
}

func parcelBody(dice *rand.Rand) []byte {
	size := dice.IntN(longestInnocent)
	switch {
	case dice.IntN(largeOneIn) == 0:
		size = largest/4 + dice.IntN(largest*3/4)
	case dice.IntN(6) == 0:
		return nil
	case dice.IntN(6) == 0:
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		return every
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(dice.Uint64())
	}
	return body
}

// unpack reads what the headers say.
func unpack(m *waybill.Message) (*payload, error) {
	if m.Headers[parcelToken] == "" {
		return nil, waybill.Permanent(errors.New("the message is no parcel: it has no header " + parcelToken))
	}
	p := &payload{Token: m.Headers[parcelToken]}
	p.Version, _ = strconv.ParseInt(m.Headers[parcelVersion], 10, 64)
	p.Due, _ = strconv.ParseInt(m.Headers[parcelDue], 10, 64)
	p.Parcel, p.Digest = p.Token+parcelSuffix, digestOf(m)
	return p, nil
}

// parcelSuffix makes a parcel's name of its transaction's.
const parcelSuffix = "-parcel"

// digestOf is a digest of what has to arrive as it was sent: the key, the body, and the
// sender's headers.
func digestOf(m *waybill.Message) string {
	sum := sha256.New()
	add := func(part []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		sum.Write(part)
	}
	add([]byte(m.Key))
	add(m.Body)
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		if name == "content-type" || strings.HasPrefix(name, parcelHeader) {
			add([]byte(name))
			add([]byte(m.Headers[name]))
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// sendParcel returns a parcel's message, of the next number of its code, and notes in the
// journal what is in it.
func (w *worker) sendParcel(ctx context.Context, tx *sql.Tx, token string) (waybill.Message, error) {
	p := payload{Token: token, Due: w.due()}
	code, key := w.dice.IntN(len(parcelCodes)+1)-1, ""
	if code >= 0 {
		key = parcelCodes[code]
		_, err := tx.ExecContext(ctx, w.db.sql(`UPDATE {parcel_code} SET version = version + 1 WHERE id = ?`), code)
		if err == nil {
			err = tx.QueryRowContext(ctx, w.db.sql(`SELECT version FROM {parcel_code} WHERE id = ?`), code).Scan(&p.Version)
		}
		if err != nil {
			return waybill.Message{}, err
		}
	}
	m := w.pack(p, key)
	if err := w.journal.writeDigest(token, digestOf(&m)); err != nil {
		return m, err
	}
	_, err := tx.ExecContext(ctx, w.db.sql(`INSERT INTO {parcel} (id, code, version, message_id) VALUES (?, ?, ?, ?)`), token+parcelSuffix, code, p.Version, m.ID.String())
	return m, err
}
