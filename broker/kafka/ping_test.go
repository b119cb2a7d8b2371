package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// terse is a broker that says which requests it knows, answers the first two
// requests for metadata, and no other one.
type terse struct {
	listen   net.Listener
	host     string
	port     int32
	answered atomic.Int32
	asked    chan struct{} // receives a request that is not answered
}

func newTerse(t *testing.T) *terse {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	b := &terse{listen: l, host: host, port: int32(number), asked: make(chan struct{}, 10)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *terse) serve(c net.Conn) {
	defer c.Close()
	for {
		var size uint32
		if binary.Read(c, binary.BigEndian, &size) != nil {
			return
		}
		request := make([]byte, size) // a key, a version, a correlation id, and more
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		answer := append(make([]byte, 4), request[4:8]...)
		version := int16(binary.BigEndian.Uint16(request[2:]))
		switch key := int16(binary.BigEndian.Uint16(request)); {
		case key == kmsg.ApiVersions.Int16():
			response := kmsg.NewPtrApiVersionsResponse()
			response.SetVersion(version)
			for _, known := range []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata} {
				response.ApiKeys = append(response.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: known.Int16(), MaxVersion: 8})
			}
			answer = response.AppendTo(answer)
		case b.answered.Add(1) <= 2:
			response := kmsg.NewPtrMetadataResponse()
			response.SetVersion(version)
			response.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: b.host, Port: b.port}}
			answer = response.AppendTo(answer)
		default:
			b.asked <- struct{}{}
			continue
		}
		binary.BigEndian.PutUint32(answer, uint32(len(answer)-4))
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// The race detector judges: the library must not number a request for one broker while it
// reads the same one for another, here for the seed and for the same server by its name.
func TestAPingThatEndsWithItsClientSharesNoRequestBetweenBrokers(t *testing.T) {
	for range 20 {
		server := newTerse(t)
		b, err := New("kafka://"+server.listen.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.connect(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// From the answer the library learns of the server by its name.
		if _, _, err := c.topic(t.Context(), "orders"); err == nil || len(c.durable.DiscoveredBrokers()) != 1 {
			t.Fatalf("topic: %v, %d brokers; want no topic and one broker", err, len(c.durable.DiscoveredBrokers()))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.durable.ping(ctx) }()
		<-server.asked
		c.durable.kill()
		cancel()
		if err := <-ended; err == nil {
			t.Fatal("ping: no error; want the one of a client that has ended")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
