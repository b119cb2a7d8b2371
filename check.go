package waybill

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the greatest length of a destination, a key and a consumer's name, in
// characters: what the tables' varchar(255) columns hold. A producer's name leaves
// room for ReceiptPrefix.
const MaxName = 255

// CheckDestination reports why name cannot be a message's destination, or nil.
// A destination has 1 to 255 characters of valid UTF-8 without white space,
// control characters and the characters that one broker or another takes for a
// wildcard, a list or options (* > # , ? and %). Names that begin with "ack.",
// in any case, belong to receipts.
func CheckDestination(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(name) >= len(ReceiptPrefix) && strings.EqualFold(name[:len(ReceiptPrefix)], ReceiptPrefix) {
		return errors.New(`names that begin with "ack." are reserved for receipts`)
	}
	return nil
}

// MaxProducer is the greatest length of a producer's name, in characters: with it, the
// prefix and the outbox's identity (of 64 characters at most) make a queue's name.
const MaxProducer = MaxName - len(ReceiptPrefix) - 1 - 64

// CheckProducer reports why name cannot be a producer's name, or nil. The rules are those
// of a destination, since the name is part of that of a queue, of MaxProducer characters
// at most.
func CheckProducer(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return checkText(name, MaxProducer)
}

// CheckConsumer reports why name cannot be a consumer's name, or nil. The rules
// are those of a destination without its reserved prefix.
func CheckConsumer(name string) error { return checkName(name) }

func checkName(name string) error {
	if name == "" {
		return errors.New("is empty")
	}
	if err := checkText(name, MaxName); err != nil {
		return err
	}
	if i := strings.IndexFunc(name, isTaken); i >= 0 {
		r, _ := utf8.DecodeRuneInString(name[i:])
		return fmt.Errorf("contains %q, which some broker takes for a wildcard, a list or an option", r)
	}
	return nil
}

// isTaken says whether a broker, or a list of names, may give a character a meaning of its own.
func isTaken(r rune) bool {
	switch r {
	case '*', '>', '#', ',', '?', '%':
		return true
	}
	return unicode.IsSpace(r)
}

// CheckKey reports why key cannot be a business mark, or nil. A key has at most
// 255 characters of valid UTF-8 without control characters; empty means no key.
func CheckKey(key string) error { return checkText(key, MaxName) }

// CheckHeader reports why a sender may not use this header, or nil. Names are
// 1 to 255 ASCII letters, digits and '_', '-', '.', '$'; they do not begin with
// a digit, '-' or '.', nor with "JMS", "_AMQ_", "__AMQ_" or "__HDR_" (any case), and are none of
// Waybill's own or a protocol's (see IsReservedHeader). Values are valid UTF-8
// without control characters, of at most 32,768 characters.
func CheckHeader(name, value string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("the name of a header has 1 to %d characters", MaxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			return fmt.Errorf("header name %.80q: use ASCII letters, digits, '_', '-', '.' and '$', a letter first", name)
		}
	}
	for _, prefix := range brokersPrefixes {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return fmt.Errorf("header name %.80q: names that begin with %s belong to brokers; %.80q is free", name, prefix, freeHeader(name))
		}
	}
	if IsReservedHeader(name) {
		return fmt.Errorf("header name %.80q is reserved; %q is free", name, freeHeader(name))
	}
	if err := checkText(value, maxHeader); err != nil {
		return fmt.Errorf("header %q: its value %w", name, err)
	}
	return nil
}

// freeHeader is a name that a sender may use in the place of one that is reserved.
func freeHeader(name string) string { return "x-" + strings.TrimLeft(strings.ToLower(name), "_") }

// maxHeader is the greatest length of a header's value, in characters.
const maxHeader = 32 << 10

// MaxHeaders is the greatest number of a message's headers, and MaxHeaderBytes that of the
// bytes of all their names and values: brokers bound them too, and some end the connection
// over more.
const (
	MaxHeaders     = 100
	MaxHeaderBytes = 64 << 10
)

// CheckHeaders reports why a sender may not use these headers for one message, or nil:
// they are more than MaxHeaders, or than MaxHeaderBytes, or CheckHeader refuses some: of these
// all are named, joined by errors.Join.
func CheckHeaders(headers map[string]string) error {
	if len(headers) > MaxHeaders {
		return fmt.Errorf("there are %d headers, the limit is %d", len(headers), MaxHeaders)
	}
	bytes := 0
	for name, value := range headers {
		bytes += len(name) + len(value)
	}
	if bytes > MaxHeaderBytes {
		return fmt.Errorf("the names and values of the headers have %d bytes, the limit is %d; put large content into the body", bytes, MaxHeaderBytes)
	}
	var refused []string
	for name, value := range headers {
		if CheckHeader(name, value) != nil {
			refused = append(refused, name)
		}
	}
	slices.Sort(refused)
	var faults []error
	for _, name := range refused {
		faults = append(faults, CheckHeader(name, headers[name]))
	}
	return errors.Join(faults...)
}

// brokersPrefixes begin the names by which brokers know headers of their own. With
// _AMQ_DUPL_ID, Artemis would confirm the second copy of a message and drop it, or
// end a STOMP connection over it.
var brokersPrefixes = []string{"JMS", "_AMQ_", "__AMQ_", "__HDR_"}

// IsReservedHeader reports whether name, in any case, is a header of Waybill's
// own or one that a wire protocol keeps for itself.
func IsReservedHeader(name string) bool { return reservedHeaders[strings.ToLower(name)] }

var reservedHeaders = map[string]bool{
	// Waybill's own, in lower case.
	"messageid": true, "businessmark": true, "timestamp": true, "sequence": true, "producer": true,
	"receiptto": true, "attempt": true, "failures": true, "floor": true, "waybill": true,

	// STOMP 1.2's, with ActiveMQ's and Artemis' extensions.
	"destination": true, "receipt": true, "receipt-id": true, "transaction": true, "subscription": true,
	"message-id": true, "content-length": true, "ack": true, "id": true, "session": true,
	"type": true, "expires": true, "priority": true, "persistent": true,
	"reply-to": true, "correlation-id": true, "redelivered": true, "transformation": true,
	"browser": true, "destination-type": true, "selector": true,
	// By the first ActiveMQ chooses what kind of message it makes of a STOMP frame, and
	// with that the body's encoding; the second it sets itself on dead letters.
	"amq-msg-type": true, "original-destination": true,
	// Artemis keeps AMQP's message id in it.
	"native_message_id": true,
}

func checkText(s string, most int) error {
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	if len(s) > most && utf8.RuneCountInString(s) > most {
		return fmt.Errorf("is longer than %d characters", most)
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return fmt.Errorf("contains the control character %q", r)
	}
	return nil
}
