package jsonl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
)

var seeds = []string{
	`{"body":"x"}`, `{"destination":"d","key":"k","headers":{"a":"1"},"body":"\ud83d\ude00 \\ud800"}`, `{"body_base64":"/wA="}`,
	`{"body":"x","body":"y"}`, `{"BODY":"x"}`, `{"body":"\ufffd"}`, `{"body":"\uD800\uDC00"}`, `{"body":"\\\ud800"}`, `{"body":null}`, `null`, `{"body":"x"}{}`, `{`, ``,
}

// A line that is taken says what its message is: it carries no character that the
// line does not have, and written again it is the same message.
func FuzzDecode(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := jsonl.Decode(text, waybill.Message{Destination: "orders", Key: "k"})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q: got the error %q, want one line", text, err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q: got no error, want one: it is no JSON", text)
		}
		if m.Body == nil {
			t.Errorf("%q: got no body, want one or an error", text)
		}
		if lower := bytes.ToLower(text); !bytes.Contains(lower, []byte(`\ufffd`)) && !bytes.Contains(text, []byte("\uFFFD")) {
			for _, s := range append([]string{m.Destination, m.Key, string(m.Body)}, flat(m.Headers)...) {
				if strings.Contains(s, "\uFFFD") && utf8.ValidString(s) && !bytes.Contains(text, []byte("base64")) {
					t.Errorf("%q: got %+v, want every character", text, m)
				}
			}
		}
		same(t, m)
	})
}

// Any message can be written as a line.
func FuzzAMessageSurvivesItsLine(f *testing.F) {
	f.Add("orders", "k", "a", "1", []byte("body"))
	f.Add("", "", "", "", []byte{})
	f.Add("<&>\u2028", "\"\\", "\x00", "\x7f", []byte{0xff, 0})
	f.Fuzz(func(t *testing.T, destination, key, name, value string, body []byte) {
		for _, s := range []string{destination, key, name, value} {
			if !utf8.ValidString(s) {
				t.Skip("no text")
			}
		}
		same(t, waybill.Message{Destination: destination, Key: key, Headers: map[string]string{name: value}, Body: body})
	})
}

// same writes a message as a line and reads it.
func same(t *testing.T, m waybill.Message) {
	t.Helper()
	fields := map[string]any{"destination": m.Destination, "key": m.Key, "headers": m.Headers}
	if utf8.Valid(m.Body) {
		fields["body"] = string(m.Body)
	} else {
		fields["body_base64"] = m.Body
	}
	text, err := jsonl.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.IndexByte(text, '\n') != len(text)-1 {
		t.Errorf("got %q, want one line", text)
	}
	got, err := jsonl.Decode(text, waybill.Message{})
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%s: got %+v, %v; want %+v", text, got, err, m)
	}
}

func flat(headers map[string]string) []string {
	var all []string
	for name, value := range headers {
		all = append(all, name, value)
	}
	return all
}

// Lines that are read are those that there are, in their order, up to the first that
// is wrong.
func FuzzReader(f *testing.F) {
	for i := range seeds {
		f.Add([]byte(strings.Join(seeds[:i], "\n")))
		f.Add([]byte(strings.Join(seeds[i:], "\r\n\n")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		base := waybill.Message{Destination: "orders"}
		var want []waybill.Message
		wrong := 0
		for i, l := range bytes.Split(text, []byte("\n")) {
			if len(bytes.TrimSpace(l)) == 0 {
				continue
			}
			m, err := jsonl.Decode(l, base)
			if err != nil {
				wrong = i + 1
				break
			}
			want = append(want, m)
		}
		r := jsonl.NewReader(t.Context(), bytes.NewReader(text), base)
		var got []waybill.Message
		for {
			g, err := r.Next(t.Context())
			var bad *jsonl.Error
			switch {
			case errors.Is(err, io.EOF):
				if wrong > 0 {
					t.Errorf("got no error, want one of line %d", wrong)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, want %+v", got, want)
				}
				return
			case errors.As(err, &bad):
				if bad.Line != wrong {
					t.Errorf("got an error of line %d, want one of line %d: %v", bad.Line, wrong, err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			got = append(got, g.Messages...)
		}
	})
}
