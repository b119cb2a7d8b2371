package inbox

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	waybill "github.com/waybill-go/waybill"
)

// JSON is a Handler of messages whose bodies are JSON of a T. A body that is no JSON of a T,
// or has something behind it, is rejected at once, and its producer keeps it: a further try
// cannot help. Fields that T does not have are ignored, as producers are upgraded first.
func JSON[T any](handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message, v T) error) Handler {
	return Decoded(decodeJSON[T], handler)
}

// Decoded is a Handler of messages whose bodies decode makes values of. A body that it
// cannot decode is rejected at once, and its producer keeps it.
func Decoded[T any](decode func(body []byte) (T, error), handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message, v T) error) Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		v, err := decoded(decode, m)
		if err != nil {
			return err
		}
		return handler(ctx, tx, m, v)
	}
}

// decodeJSON decodes a body that is one value of JSON.
func decodeJSON[T any](body []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if err = d.Decode(&v); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind the value")
		}
	}
	return v, err
}

// decoded is the value of a message's body. Where it has none, no further try can help.
func decoded[T any](decode func(body []byte) (T, error), m *waybill.Message) (T, error) {
	v, err := decode(m.Body)
	if err != nil {
		err = waybill.Permanent(fmt.Errorf("the body is no %T: %w", v, err))
	}
	return v, err
}
