package store

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// KeptHeader is one header of a kept message.
type KeptHeader struct{ Name, Value string }

// EncodeHeaders is the text of Kept.Headers: a JSON object, in which a name may stand more
// than once, of strings; a value that is no UTF-8 is {"base64": "…"}.
func EncodeHeaders(headers []KeptHeader) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, h := range headers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(h.Name))
		b.WriteByte(':')
		if utf8.ValidString(h.Value) {
			b.Write(quote(h.Value))
			continue
		}
		fmt.Fprintf(&b, `{"base64":%q}`, base64.StdEncoding.EncodeToString([]byte(h.Value)))
	}
	b.WriteByte('}')
	return b.String()
}

// quote is a JSON string. A NUL in it is escaped, which no database could take.
func quote(text string) []byte {
	quoted, _ := json.Marshal(text) // of a string it does not fail
	return quoted
}

// DecodeHeaders reads what EncodeHeaders has written.
func DecodeHeaders(text string) ([]KeptHeader, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("headers are no JSON object: %.40q", text)
	}
	var headers []KeptHeader
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		var value headerValue
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("header %.40q: %w", name, err)
		}
		headers = append(headers, KeptHeader{Name: name.(string), Value: string(value)})
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("headers: something is behind the JSON object")
	}
	return headers, nil
}

// headerValue is a string, or an object with bytes.
type headerValue string

// UnmarshalJSON implements json.Unmarshaler.
func (v *headerValue) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*v = headerValue(text)
		return nil
	}
	var raw struct{ Base64 []byte }
	err := json.Unmarshal(data, &raw)
	*v = headerValue(raw.Base64)
	return err
}
