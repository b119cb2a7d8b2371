package jmsbroker

import (
	"testing"

	"github.com/waybill-go/waybill/broker"
)

func TestModifiedUTF8BecomesUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"ümläut 漢字 🚚":                "ümläut 漢字 🚚",
		"\xed\xa0\xbd\xed\xba\x9a":   "🚚",
		"a\xc0\x80b":                 "a\x00b",
		"\xed\xa0\xbd":               "\xed\xa0\xbd", // half of a pair
		"\xed\xba\x9a\xed\xa0\xbd":   "\xed\xba\x9a\xed\xa0\xbd",
		"\xff\xed\xa0\xbd\xed\xba":   "\xff\xed\xa0\xbd\xed\xba",
		"x\xed\xa0\xbd\xed\xba\x9ay": "x🚚y",
	} {
		t.Run(want, func(t *testing.T) {
			if got := FromModifiedUTF8([]byte(in)); string(got) != want {
				t.Errorf("%q: got %q, want %q", in, got, want)
			}
		})
	}
}

// changed is text as Classic shows it after a restart.
func changed(text string) string {
	var out []rune
	for _, r := range text {
		if r > 0xffff {
			out = append(out, 0xfffd, 0xfffd)
		} else {
			out = append(out, r)
		}
	}
	return string(out)
}

func TestTextThatClassicChangesIsRestored(t *testing.T) {
	for _, value := range []string{"🦊", "a🦊b%41+c 🚚", "🏳️‍🌈 \ufffd\ufffd", "%🦊", "\U0010ffff"} {
		companion, needed := Escape("businessMark", value)
		if !needed || companion.Name != "businessMark*" || isChanged(companion.Value) {
			t.Errorf("Escape(%q): %v, %v; want a companion without such characters", value, companion, needed)
		}
		for _, arrived := range []string{value, changed(value)} {
			m := broker.Message{Headers: []broker.Header{{Name: "first", Value: "1"}, companion, {Name: "businessMark", Value: arrived}, {Name: "last", Value: "2"}}}
			Restore(&m)
			got, _ := m.Header("businessMark")
			if got != value || m.Key != value || len(m.Headers) != 3 {
				t.Errorf("%q arrived as %q and became %v with the key %q; want it as it was, without the companion", value, arrived, m.Headers, m.Key)
			}
		}
	}
	for _, value := range []string{"", "text", "%F0%9F%A6%8A", "日本語 ✓\uffff\u2028", "a*"} {
		if companion, needed := Escape("name", value); needed {
			t.Errorf("Escape(%q): %v; want that none is needed", value, companion)
		}
	}
}

func TestAContentTypeThatClassicChangesIsRestored(t *testing.T) {
	const value = "text/plain; of=🦊"
	companion, _ := Escape(contentType, value)
	m := broker.Message{ContentType: changed(value), Headers: []broker.Header{companion}}
	Restore(&m)
	if m.ContentType != value || len(m.Headers) != 0 {
		t.Errorf("got the content type %q and the headers %v; want %q and none", m.ContentType, m.Headers, value)
	}
}

func TestHeadersThatOnlyLookLikeCompanionsStay(t *testing.T) {
	for name, headers := range map[string][]broker.Header{
		"without its header":      {{Name: "a*", Value: "%F0%9F%A6%8A"}},
		"of another value":        {{Name: "a*", Value: "%F0%9F%A6%8A"}, {Name: "a", Value: "x"}},
		"no percent-encoded text": {{Name: "a*", Value: "100%"}, {Name: "a", Value: "100%"}},
		"a mark alone":            {{Name: "*", Value: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := broker.Message{Headers: append([]broker.Header(nil), headers...)}
			Restore(&m)
			if len(m.Headers) != len(headers) {
				t.Fatalf("got %v, want %v", m.Headers, headers)
			}
			for i := range headers {
				if m.Headers[i] != headers[i] {
					t.Errorf("got %v, want %v", m.Headers[i], headers[i])
				}
			}
		})
	}
}
