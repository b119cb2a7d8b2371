package stomp

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFramesAreReadWhateverTheirHeadersAre(t *testing.T) {
	for name, c := range map[string]struct{ frame, body, header, value string }{
		"plain":                     {"MESSAGE\na:b\n\nbody\x00", "body", "a", "b"},
		"escapes":                   {"MESSAGE\na:\\r\\n\\c\\\\\\q\n\nbody\x00", "body", "a", "\r\n:\\\\q"},
		"a carriage return":         {"MESSAGE\r\na:b\r\n\r\nbody\x00", "body", "a", "b"},
		"a colon in the value":      {"MESSAGE\na:b:c\n\nbody\x00", "body", "a", "b:c"},
		"no colon":                  {"MESSAGE\nbroken\na:b\n\nbody\x00", "body", "a", "b"},
		"no name":                   {"MESSAGE\n:x\na:b\n\nbody\x00", "body", "a", "b"},
		"a length":                  {"MESSAGE\ncontent-length:3\na:b\n\nx\x00y\x00", "x\x00y", "a", "b"},
		"a length that is none":     {"MESSAGE\ncontent-length:x\na:b\n\nbody\x00", "body", "a", "b"},
		"a length below 0":          {"MESSAGE\ncontent-length:-1\na:b\n\nbody\x00", "body", "a", "b"},
		"a forged length":           {"MESSAGE\ncontent-length:2\ncontent-length:4\na:b\n\nbody\x00", "body", "a", "b"},
		"a forged length behind it": {"MESSAGE\ncontent-length:4\na:b\ncontent-length:900\n\nbody\x00", "body", "a", "b"},
		"no body":                   {"MESSAGE\ncontent-length:0\na:b\n\n\x00", "", "a", "b"},
		"a large body":              {"MESSAGE\ncontent-length:3000000\na:b\n\n" + strings.Repeat("x", 3_000_000) + "\x00", strings.Repeat("x", 3_000_000), "a", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			source := io.Reader(strings.NewReader(c.frame + "\nRECEIPT\nreceipt-id:1\n\n\x00"))
			if len(c.frame) < 1000 {
				source = iotest.OneByteReader(source)
			}
			r := newFrameReader(source, 16)
			f, err := r.read()
			if err != nil {
				t.Fatal(err)
			}
			if f.Command != "MESSAGE" || string(f.Body) != c.body || f.Header.Get(c.header) != c.value {
				t.Errorf("got %s with the body %.40q and %s: %q; want %.40q and %q", f.Command, f.Body, c.header, f.Header.Get(c.header), c.body, c.value)
			}
			if beat, err := r.read(); beat != nil || err != nil {
				t.Errorf("got %v, %v after it; want a heart-beat", beat, err)
			}
			if next, err := r.read(); err != nil || next.Command != "RECEIPT" {
				t.Errorf("got %v, %v after that; want the next frame", next, err)
			}
		})
	}
}

func TestWhatIsNoFrameIsAnErrorThatShowsIt(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"AMQP":               {"AMQP\x03\x01\x00\x00", "AMQP"},
		"HTTP":               {"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"},
		"a length too small": {"MESSAGE\ncontent-length:2\n\nbody\x00", "does not end"},
		"the end":            {"MESSAGE\na:b\n\nbo", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := newFrameReader(strings.NewReader(c.said), 16).read()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error with %q", f, err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("MESSAGE\ncontent-length:4\na\\c:b\n\nbody\x00\n"))
	f.Add([]byte("\nERROR\nmessage:x\n\n\x00CONNECTED\n:\n\n\x00"))
	f.Fuzz(func(t *testing.T, said []byte) {
		r := newFrameReader(strings.NewReader(string(said)), 16)
		read := 0
		for range len(said) + 1 {
			f, err := r.read()
			if err != nil {
				return
			}
			if f != nil {
				read += len(f.Body) + 1
			}
		}
		t.Errorf("got frames of %d bytes out of %d, and no end", read, len(said))
	})
}
