package jmsbroker

import (
	"errors"
	"unicode/utf8"
)

// NativeBody takes the body out of an encoded AMQP message. ActiveMQ Classic, by default,
// keeps what came by AMQP as it came and hands the whole encoded message to a STOMP
// consumer as the body, with the header JMS_AMQP_NATIVE. NativeBody reads data sections
// and a value that is text, binary or null, which is what JMS and Waybill send; another
// body is an error.
func NativeBody(message []byte) ([]byte, error) {
	var body []byte
	d := decoder{rest: message}
	for len(d.rest) > 0 && d.err == nil {
		if d.byte() != 0x00 {
			return nil, errNative
		}
		section, ok := d.small()
		if !ok {
			return nil, errNative
		}
		switch section {
		case 0x70, 0x71, 0x72, 0x73, 0x74, 0x78: // header, annotations, properties, footer
			d.value()
		case 0x75, 0x77: // data, value
			value, ok := d.bytes()
			if !ok {
				return nil, errNative
			}
			body = append(body, value...)
		default: // sequence
			return nil, errNative
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return body, nil
}

var errNative = errors.New("the body is no AMQP message with data or text")

// decoder reads encoded AMQP values from the front of rest.
type decoder struct {
	rest []byte
	err  error
}

// take returns the next n bytes, or nil after an error.
func (d *decoder) take(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.rest)) {
		d.err = errNative
		return nil
	}
	taken := d.rest[:n:n]
	d.rest = d.rest[n:]
	return taken
}

// byte returns the next byte, or after an error one that begins no value.
func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0xff
}

// small reads a descriptor, which is an unsigned long below 256 here.
func (d *decoder) small() (byte, bool) {
	switch d.byte() {
	case 0x53:
		return d.byte(), d.err == nil
	case 0x80:
		n := d.size(8)
		return byte(n), d.err == nil && n < 256
	}
	return 0, false
}

// size reads an unsigned number of width bytes.
func (d *decoder) size(width uint64) uint64 {
	var n uint64
	for _, b := range d.take(width) {
		n = n<<8 | uint64(b)
	}
	return n
}

// bytes reads a value that is binary, text or null.
func (d *decoder) bytes() ([]byte, bool) {
	switch d.byte() {
	case 0x40:
		return nil, d.err == nil
	case 0xa0, 0xa1, 0xa3:
		b := d.take(d.size(1))
		return b, d.err == nil
	case 0xb0, 0xb1, 0xb3:
		b := d.take(d.size(4))
		return b, d.err == nil
	}
	return nil, false
}

// value skips a value of any type. The upper half of its code tells its width.
func (d *decoder) value() {
	code := d.byte()
	switch {
	case code == 0x00:
		d.value() // the descriptor
		d.value()
	case code>>4 == 0x4:
	case code>>4 >= 0x5 && code>>4 <= 0x9:
		d.take(1 << (code>>4 - 5))
	case code>>4 == 0xa || code>>4 == 0xc || code>>4 == 0xe:
		d.take(d.size(1))
	case code>>4 == 0xb || code>>4 == 0xd || code>>4 == 0xf:
		d.take(d.size(4))
	default:
		d.err = errNative
	}
}

// FromModifiedUTF8 turns Java's modified UTF-8 into UTF-8. ActiveMQ Classic hands a text
// message of JMS or AMQP to a STOMP consumer in that encoding, in which a character
// beyond U+FFFF is two surrogates of three bytes each and U+0000 is 0xC0 0x80. Neither is
// valid UTF-8, so other text is not changed.
func FromModifiedUTF8(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch {
		case text[i] == 0xc0 && i+1 < len(text) && text[i+1] == 0x80:
			out = append(out, 0)
			i += 2
		case surrogate(text[i:], 0xa0) && surrogate(text[i+3:], 0xb0):
			high := rune(text[i+1]&0x0f)<<6 | rune(text[i+2]&0x3f)
			low := rune(text[i+4]&0x0f)<<6 | rune(text[i+5]&0x3f)
			out = utf8.AppendRune(out, 0x10000+high<<10+low)
			i += 6
		default:
			out = append(out, text[i])
			i++
		}
	}
	return out
}

// surrogate reports whether b begins with a surrogate, the high one of a pair where half
// is 0xa0, the low one where it is 0xb0.
func surrogate(b []byte, half byte) bool {
	return len(b) >= 3 && b[0] == 0xed && b[1]&0xf0 == half && b[2]&0xc0 == 0x80
}
