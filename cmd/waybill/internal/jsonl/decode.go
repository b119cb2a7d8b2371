// Package jsonl is the JSON lines that commands read and print: one message a line. A
// Reader reads them in groups, Decode reads one, and Encode writes one; Marshal writes any
// other value as a line.
package jsonl

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
)

// fields are what a line that is read may hold.
const fields = "destination, key, headers, body and body_base64"

// Decode reads a message from one line of the form
//
//	{"destination":…, "key":…, "headers":{…}, "body":"text"}
//
// with "body_base64" in place of "body" for bytes that are no text. All but the body
// may be left out and is then taken from base; headers are added to those of base.
// Unknown fields are errors, since they are misspelt ones, and so is text that JSON
// cannot carry unchanged. The message itself is not checked: Send does that.
func Decode(text []byte, base waybill.Message) (waybill.Message, error) {
	if !utf8.Valid(text) {
		return base, errors.New("is not valid UTF-8; give bytes that are no text as body_base64")
	}
	if err := checkSurrogates(text); err != nil {
		return base, err
	}
	var l struct {
		Destination *string           `json:"destination"`
		Key         *string           `json:"key"`
		Headers     map[string]string `json:"headers"`
		Body        *string           `json:"body"`
		BodyBase64  *string           `json:"body_base64"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return base, reason(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return base, errors.New("more follows after the JSON object; write one message a line")
	}
	switch {
	case l.Body != nil && l.BodyBase64 != nil:
		return base, errors.New("has both body and body_base64")
	case l.Body != nil:
		base.Body = []byte(*l.Body)
	case l.BodyBase64 != nil:
		body, err := base64.StdEncoding.DecodeString(*l.BodyBase64)
		if err != nil {
			return base, fmt.Errorf("body_base64 is no standard base64: %w", err)
		}
		base.Body = body
	default:
		return base, errors.New("has neither body nor body_base64")
	}
	if l.Destination != nil {
		base.Destination = *l.Destination
	}
	if l.Key != nil {
		base.Key = *l.Key
	}
	if len(l.Headers) > 0 {
		headers := maps.Clone(base.Headers)
		if headers == nil {
			headers = make(map[string]string, len(l.Headers))
		}
		maps.Copy(headers, l.Headers)
		base.Headers = headers
	}
	return base, nil
}

// reason says in the reader's words what the decoder found.
func reason(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("is no JSON: %w (at byte %d)", err, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is no JSON: it ends too soon")
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("is a JSON %s and no object", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("%s is a JSON %s and no %s", kind.Field, kind.Value, kindOf(kind))
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return fmt.Errorf("has the unknown field %s; there are %s", name, fields)
	}
	return fmt.Errorf("is no JSON: %w", err)
}

func kindOf(kind *json.UnmarshalTypeError) string {
	if strings.HasPrefix(kind.Type.String(), "map") {
		return "object of strings"
	}
	return "string"
}

// checkSurrogates finds \u escapes of half a character, which would silently become
// U+FFFD.
func checkSurrogates(text []byte) error {
	escape := func(i int) (rune, bool) {
		if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, ok := escape(i)
		switch {
		case !ok:
			i++ // another escape, such as \\ or \"
		case r >= 0xdc00 && r <= 0xdfff:
			return fmt.Errorf("has the escape \\u%04x, which is half a character; give bytes that are no text as body_base64", r)
		case r >= 0xd800 && r <= 0xdbff:
			if low, ok := escape(i + 6); !ok || low < 0xdc00 || low > 0xdfff {
				return fmt.Errorf("has the escape \\u%04x, which is half a character; give bytes that are no text as body_base64", r)
			}
			i += 11
		default:
			i += 5
		}
	}
	return nil
}
