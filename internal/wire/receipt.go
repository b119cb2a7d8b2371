package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// ReceiptKind is the value of the header "waybill" on a message that carries receipts.
const ReceiptKind = "receipt.v1"

// MaxReceipts is how many receipts one message carries at most, as PackReceipts makes them.
const MaxReceipts = 1000

// MaxReceiptBytes is how long the body of a message is that PackReceipts makes, unless it is
// told of a lower limit: every broker takes that much.
const MaxReceiptBytes = 256 << 10

// maxError bounds the error text of one receipt, in bytes.
const maxError = 2000

// maxAfter bounds how far a receipt may postpone a copy; one that says more means this.
const maxAfter = 30 * 24 * time.Hour

// EncodeReceipts makes one message that carries all of a consumer's receipts, whatever its
// size. Errors are those of ErrorText. It cuts the fraction of a millisecond off delays.
func EncodeReceipts(receiptTo, consumer string, receipts []waybill.Receipt) broker.Message {
	m, _ := packReceipts(receiptTo, consumer, receipts, math.MaxInt)
	return m
}

// PackReceipts makes a message that carries as many of a consumer's receipts, from the first
// on, as fit into a body of limit bytes, and MaxReceipts at most; n is how many these are.
// There is at least one, even if it is longer by itself.
func PackReceipts(receiptTo, consumer string, receipts []waybill.Receipt, limit int) (m broker.Message, n int) {
	return packReceipts(receiptTo, consumer, receipts[:min(len(receipts), MaxReceipts)], limit)
}

func packReceipts(receiptTo, consumer string, receipts []waybill.Receipt, limit int) (m broker.Message, n int) {
	const end = `]}`
	body := make([]byte, 0, min(64+len(receipts)*64, limit))
	body = append(body, `{"consumer":`...)
	body = appendString(body, consumer)
	body = append(body, `,"receipts":[`...)
	for n < len(receipts) {
		before := len(body)
		if n > 0 {
			body = append(body, ',')
		}
		body = appendReceipt(body, &receipts[n])
		if n > 0 && len(body)+len(end) > limit {
			body = body[:before]
			break
		}
		n++
	}
	body = append(body, end...)
	return broker.Message{
		Destination: receiptTo,
		Headers:     []broker.Header{{Name: Kind, Value: ReceiptKind}},
		ContentType: "application/json",
		Body:        body,
	}, n
}

func appendReceipt(body []byte, r *waybill.Receipt) []byte {
	body = append(body, `{"id":"`...)
	body, _ = r.ID.AppendText(body)
	body = append(body, `","outcome":"`...)
	body = append(body, r.Outcome...)
	body = append(body, '"')
	if r.After > 0 {
		body = append(body, `,"after_ms":`...)
		body = strconv.AppendInt(body, r.After.Milliseconds(), 10)
	}
	if r.Tries > 0 {
		body = append(body, `,"tries":`...)
		body = strconv.AppendInt(body, int64(r.Tries), 10)
	}
	if r.Error != "" {
		body = append(body, `,"error":`...)
		body = appendString(body, ErrorText(r.Error))
	}
	return append(body, '}')
}

func appendString(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always encodes
	return append(b, text...)
}

// ErrorText makes an error's text one that travels in a receipt: valid UTF-8 of at most
// maxError bytes.
func ErrorText(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxError+utf8.UTFMax)], "\uFFFD")
	if len(s) <= maxError {
		return s
	}
	n := maxError
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

const (
	// maxArrivedReceipts bounds the receipts of a message that arrives, ten times what one
	// should carry, and maxArrivedReceiptBytes its body: more than inboxes of version 1 send,
	// whose errors may be long. A message that has more is refused.
	maxArrivedReceipts     = 10 * MaxReceipts
	maxArrivedReceiptBytes = 16 << 20
)

// DecodeReceipts reads a message that carries receipts. bad counts those that were left
// out because they make no sense, and reason is why the first of them was. A message that
// makes no sense as a whole, or is beyond the bounds, has no receipts and counts as one bad
// one; it is read no further than the bounds.
func DecodeReceipts(m *broker.Message) (consumer string, receipts []waybill.Receipt, bad int, reason error) {
	if kind, _ := KindOf(m); kind != ReceiptKind {
		return "", nil, 1, fmt.Errorf("the header %s is %.40q and not %q", Kind, kind, ReceiptKind)
	}
	if len(m.Body) > maxArrivedReceiptBytes {
		return "", nil, 1, fmt.Errorf("a message of receipts has %d bytes, the limit is %d", len(m.Body), maxArrivedReceiptBytes)
	}
	d := receiptDecoder{json: json.NewDecoder(bytes.NewReader(m.Body))}
	if err := d.message(); err != nil {
		return "", nil, 1, fmt.Errorf("the body is no receipt: %w", err)
	}
	return d.consumer, d.receipts, d.bad, d.reason
}

// receiptDecoder reads the body of a message that carries receipts, one by one.
type receiptDecoder struct {
	json     *json.Decoder
	consumer string
	receipts []waybill.Receipt
	count    int
	bad      int
	reason   error // the first one
}

// message reads the whole body.
func (d *receiptDecoder) message() error {
	isThere, err := d.open('{')
	for err == nil && isThere && d.json.More() {
		err = d.field()
	}
	if err == nil && isThere {
		_, err = d.json.Token()
	}
	if err != nil {
		return err
	}
	if _, err = d.json.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind it")
	}
	return nil
}

// open reads the beginning of an object or a list; null is none.
func (d *receiptDecoder) open(want json.Delim) (isThere bool, err error) {
	token, err := d.json.Token()
	switch {
	case errors.Is(err, io.EOF):
		return false, io.ErrUnexpectedEOF
	case err != nil || token == nil:
		return false, err
	case token != want:
		return false, fmt.Errorf("there is %.40q in place of %q", fmt.Sprint(token), want.String())
	}
	return true, nil
}

// field reads one of the body's fields.
func (d *receiptDecoder) field() error {
	name, err := d.json.Token()
	if err != nil {
		return err
	}
	switch text, _ := name.(string); {
	case strings.EqualFold(text, "consumer"):
		return d.json.Decode(&d.consumer)
	case strings.EqualFold(text, "receipts"):
		return d.list()
	}
	var other json.RawMessage
	return d.json.Decode(&other)
}

// list reads the receipts.
func (d *receiptDecoder) list() error {
	isThere, err := d.open('[')
	if err != nil || !isThere {
		return err
	}
	for d.json.More() {
		if d.count++; d.count > maxArrivedReceipts {
			return fmt.Errorf("it has more than %d receipts", maxArrivedReceipts)
		}
		if err := d.receipt(); err != nil {
			return err
		}
	}
	_, err = d.json.Token()
	return err
}

// receipt reads one of the receipts.
func (d *receiptDecoder) receipt() error {
	var r struct {
		ID      string          `json:"id"`
		Outcome waybill.Outcome `json:"outcome"`
		AfterMS float64         `json:"after_ms"`
		Tries   float64         `json:"tries"`
		Error   string          `json:"error"`
	}
	if err := d.json.Decode(&r); err != nil {
		return err
	}
	id, err := waybill.ParseID(r.ID)
	switch r.Outcome {
	case waybill.Done, waybill.Retry, waybill.Rejected:
	default:
		if err == nil {
			err = fmt.Errorf("outcome %.40q of %s is none of done, retry and rejected", r.Outcome, r.ID)
		}
	}
	if err != nil {
		if d.bad++; d.reason == nil {
			d.reason = err
		}
		return nil
	}
	after := time.Duration(min(max(r.AfterMS, 0), float64(maxAfter.Milliseconds()))) * time.Millisecond
	d.receipts = append(d.receipts, waybill.Receipt{ID: id, Outcome: r.Outcome, After: after, Tries: int(min(max(r.Tries, 0), math.MaxInt32)), Error: ErrorText(r.Error)})
	return nil
}
