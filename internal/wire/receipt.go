package wire

import (
	"encoding/json"
	"fmt"
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

// DecodeReceipts reads a message that carries receipts. bad counts those that were left
// out because they make no sense, and reason is why the first of them was. A message that
// makes no sense as a whole has no receipts and counts as one bad one.
func DecodeReceipts(m *broker.Message) (consumer string, receipts []waybill.Receipt, bad int, reason error) {
	if kind, _ := m.Header(Kind); kind != ReceiptKind {
		return "", nil, 1, fmt.Errorf("the header %s is %.40q and not %q", Kind, kind, ReceiptKind)
	}
	var body struct {
		Consumer string `json:"consumer"`
		Receipts []struct {
			ID      string          `json:"id"`
			Outcome waybill.Outcome `json:"outcome"`
			AfterMS float64         `json:"after_ms"`
			Tries   float64         `json:"tries"`
			Error   string          `json:"error"`
		} `json:"receipts"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return "", nil, 1, fmt.Errorf("the body is no receipt: %w", err)
	}
	receipts = make([]waybill.Receipt, 0, len(body.Receipts))
	for _, r := range body.Receipts {
		id, err := waybill.ParseID(r.ID)
		switch r.Outcome {
		case waybill.Done, waybill.Retry, waybill.Rejected:
		default:
			if err == nil {
				err = fmt.Errorf("outcome %.40q of %s is none of done, retry and rejected", r.Outcome, r.ID)
			}
		}
		if err != nil {
			if bad++; reason == nil {
				reason = err
			}
			continue
		}
		after := time.Duration(min(max(r.AfterMS, 0), float64(maxAfter.Milliseconds()))) * time.Millisecond
		receipts = append(receipts, waybill.Receipt{ID: id, Outcome: r.Outcome, After: after, Tries: int(min(max(r.Tries, 0), math.MaxInt32)), Error: ErrorText(r.Error)})
	}
	return body.Consumer, receipts, bad, reason
}
