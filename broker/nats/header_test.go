package nats

import (
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/waybill-go/waybill/broker"
)

func TestTheContentTypeOfAForeignProducerIsKnownInAnyCase(t *testing.T) {
	for _, name := range []string{"content-type", "Content-Type", "CONTENT-TYPE"} {
		var m broker.Message
		readHeader(&m, natsgo.Header{name: {"text/plain"}, "tenant": {"a"}})
		if m.ContentType != "text/plain" || len(m.Headers) != 1 {
			t.Errorf("%s: got the content type %q and %d headers, want text/plain and one", name, m.ContentType, len(m.Headers))
		}
	}
}
