package jsonl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
)

func TestDecodeTakesWhatALineLeavesOutFromTheBase(t *testing.T) {
	base := waybill.Message{Destination: "orders", Key: "k", Headers: map[string]string{"a": "1", "b": "2"}}
	for text, want := range map[string]waybill.Message{
		`{"body":"x"}`:                     {Destination: "orders", Key: "k", Headers: base.Headers, Body: []byte("x")},
		`{"body":""}`:                      {Destination: "orders", Key: "k", Headers: base.Headers, Body: []byte{}},
		`{"body_base64":"/wA=","key":""}`:  {Destination: "orders", Headers: base.Headers, Body: []byte{0xff, 0}},
		`{"destination":"d","body":"x"}`:   {Destination: "d", Key: "k", Headers: base.Headers, Body: []byte("x")},
		`{"headers":{"b":"3"},"body":"x"}`: {Destination: "orders", Key: "k", Headers: map[string]string{"a": "1", "b": "3"}, Body: []byte("x")},
		`{"body":"\ud83d\ude00 \\ud800"}`:  {Destination: "orders", Key: "k", Headers: base.Headers, Body: []byte("😀 \\ud800")},
		`{"body":"\"\u00e4\""}`:            {Destination: "orders", Key: "k", Headers: base.Headers, Body: []byte(`"ä"`)},
		`  {"body" : "x" }  `:              {Destination: "orders", Key: "k", Headers: base.Headers, Body: []byte("x")},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := jsonl.Decode([]byte(text), base)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
	if len(base.Headers) != 2 || base.Headers["b"] != "2" {
		t.Errorf("got a base with the headers %v, want it unchanged", base.Headers)
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"body":"x"`:                       "ends too soon",
		`{"body":x}`:                        "is no JSON",
		`{}`:                                "neither body nor body_base64",
		`null`:                              "neither body nor body_base64",
		`[1]`:                               "is a JSON array and no object",
		`{"body":"x","body_base64":"eA=="}`: "both body and body_base64",
		`{"body_base64":"?"}`:               "no standard base64",
		`{"bdy":"x"}`:                       `unknown field "bdy"; there are destination, key`,
		`{"body":1}`:                        "body is a JSON number and no string",
		`{"headers":{"a":1},"body":"x"}`:    "headers",
		`{"body":"x"}{"body":"y"}`:          "more follows",
		`{"body":"x"} y`:                    "more follows",
		"{\"body\":\"\xff\"}":               "not valid UTF-8",
		`{"body":"\ud800"}`:                 `\ud800, which is half a character`,
		`{"body":"\udc00"}`:                 `\udc00, which is half a character`,
		`{"body":"\ud800\u0041"}`:           "half a character",
	} {
		t.Run(text, func(t *testing.T) {
			_, err := jsonl.Decode([]byte(text), waybill.Message{Destination: "orders"})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestEncodeIsTheLineOfTheProtocol(t *testing.T) {
	m := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "A-1", TimeStamp: 5, Sequence: 2, Attempt: 1,
		Headers: map[string]string{"a": "<b>"}, Body: []byte("hello\n")}
	text, err := jsonl.Encode(&m)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"message_id":%q,"destination":"orders","key":"A-1","time_stamp":5,"sequence":2,"attempt":1,"headers":{"a":"<b>"},"body":"hello\n"}`+"\n", m.ID)
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	for name, body := range map[string][]byte{"no text": {0xff, 0xfe}, "none": nil, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			m := m
			m.Headers, m.Body = nil, body
			text, err := jsonl.Encode(&m)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			_, isText := got["body"]
			_, isBytes := got["body_base64"]
			if isText == isBytes || isBytes != (len(body) > 0) || got["headers"] == nil {
				t.Errorf("got %s, want headers, and body_base64: %v", text, len(body) > 0)
			}
		})
	}
}

func TestNextGroupsLinesAndKeepsTheirNumbers(t *testing.T) {
	var in strings.Builder
	for i := range 1200 {
		fmt.Fprintf(&in, "{\"body\":\"%d\"}\n\n", i)
	}
	in.WriteString(`{"body":"last"}`) // without a line's end
	r := jsonl.NewReader(t.Context(), strings.NewReader(in.String()), waybill.Message{Destination: "orders"})
	var bodies []string
	last := 0
	for {
		g, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Messages) != len(g.Lines) || len(g.Lines) > 500 || g.First() <= last {
			t.Fatalf("got a group of %d messages, lines %d to %d; want 500 at most, from lines after %d", len(g.Messages), g.First(), g.Last(), last)
		}
		last = g.Last()
		for i, m := range g.Messages {
			if want := fmt.Sprint(g.Lines[i] / 2); g.Lines[i] < 2401 && string(m.Body) != want {
				t.Fatalf("line %d: got the body %q, want %q", g.Lines[i], m.Body, want)
			}
			bodies = append(bodies, string(m.Body))
		}
	}
	if len(bodies) != 1201 || bodies[1200] != "last" || last != 2401 {
		t.Errorf("got %d messages, the last from line %d; want 1201 and 2401", len(bodies), last)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: got %v, want EOF", err)
	}
}

func TestABadLineTakesItsGroupAlong(t *testing.T) {
	r := jsonl.NewReader(t.Context(), strings.NewReader("{\"body\":\"1\"}\n{\"body\":\"2\"}\nnonsense\n{\"body\":\"4\"}\n"), waybill.Message{})
	_, err := r.Next(t.Context())
	var wrong *jsonl.Error
	if !errors.As(err, &wrong) || wrong.Line != 3 || !strings.HasPrefix(err.Error(), "line 3 is no JSON") {
		t.Errorf("got %v, want an error of line 3", err)
	}
}

func TestAGroupIsBoundedInBytes(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	r := jsonl.NewReader(t.Context(), strings.NewReader(strings.Repeat(`{"body":"`+body+"\"}\n", 9)), waybill.Message{})
	total := 0
	for {
		g, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Messages) > 4 {
			t.Errorf("got a group of %d MiB, want 4 at most", len(g.Messages))
		}
		total += len(g.Messages)
	}
	if total != 9 {
		t.Errorf("got %d messages, want 9", total)
	}
}

func TestALineThatIsTooLongIsAnError(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("{\"body\":\"1\"}\n"), zeros{})
	r := jsonl.NewReader(t.Context(), endless, waybill.Message{})
	for {
		_, err := r.Next(t.Context())
		if err == nil {
			continue
		}
		if !strings.HasPrefix(err.Error(), "line 2 is longer than") {
			t.Errorf("got %v, want an error of line 2", err)
		}
		return
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestASlowWriterIsNotHeldBack(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	r := jsonl.NewReader(t.Context(), in, waybill.Message{})
	for range 3 {
		if _, err := out.Write([]byte("{\"body\":\"x\"}\n")); err != nil {
			t.Fatal(err)
		}
		if g, err := r.Next(t.Context()); err != nil || len(g.Messages) != 1 {
			t.Fatalf("got %+v, %v; want one message", g, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got %v, want context.Canceled", err)
	}
}
