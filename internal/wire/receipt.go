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

// MaxReceipts is how many receipts one message should carry at most: callers of
// EncodeReceipts keep to it.
const MaxReceipts = 1000

// maxError bounds the error text of one receipt, in bytes.
const maxError = 2000

// maxAfter bounds how far a receipt may postpone a copy; one that says more means this.
const maxAfter = 30 * 24 * time.Hour

// EncodeReceipts makes the message that carries a consumer's receipts. Errors are those
// of ErrorText. It cuts the fraction of a millisecond off delays.
func EncodeReceipts(receiptTo, consumer string, receipts []waybill.Receipt) broker.Message {
	body := make([]byte, 0, 64+len(receipts)*64)
	body = append(body, `{"consumer":`...)
	body = appendString(body, consumer)
	body = append(body, `,"receipts":[`...)
	for i, r := range receipts {
		if i > 0 {
			body = append(body, ',')
		}
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
		body = append(body, '}')
	}
	body = append(body, `]}`...)
	return broker.Message{
		Destination: receiptTo,
		Headers:     []broker.Header{{Name: Kind, Value: ReceiptKind}},
		ContentType: "application/json",
		Body:        body,
	}
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
