package rabbitmq_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script is a proxy that knows AMQP frames, and can put some of its own between
// those of the server.
type script struct {
	address    string
	target     string
	cutAtLogin atomic.Bool // hang up when the client has sent its credentials

	mu    sync.Mutex
	conns []*scripted
}

// scripted is one connection through a script.
type scripted struct {
	mu     sync.Mutex // of writing to the client
	client net.Conn
}

func newScript(t testing.TB, target string) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{address: listener.Addr().String(), target: target}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.client.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *script) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.target)
	if err != nil {
		return
	}
	defer server.Close()
	c := &scripted{client: client}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	go func() {
		defer server.Close()
		if s.cutAtLogin.Load() {
			const protocolHeader = 8
			if _, err := io.CopyN(server, client, protocolHeader); err != nil {
				return
			}
			var first [1]byte
			_, _ = client.Read(first[:])
			client.Close()
			return
		}
		_, _ = io.Copy(server, client)
	}()
	reader := bufio.NewReader(server)
	for {
		// Type, channel and size; payload; end.
		frame, err := reader.Peek(7)
		if err != nil {
			return
		}
		whole := make([]byte, 7+int(binary.BigEndian.Uint32(frame[3:]))+1)
		if _, err := io.ReadFull(reader, whole); err != nil {
			return
		}
		if c.write(whole) != nil {
			return
		}
	}
}

func (c *scripted) write(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.client.Write(frame)
	return err
}

// inject puts a frame between those of the server.
func (c *scripted) inject(t testing.TB, frame []byte) {
	t.Helper()
	if err := c.write(frame); err != nil {
		t.Fatal(err)
	}
}

// first is the connection that was opened first, which publishes.
func (s *script) first(t testing.TB) *scripted {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		t.Fatal("nobody has connected")
	}
	return s.conns[0]
}

// method makes the frame of a method of the class connection, by its number.
func method(id byte, arguments ...byte) []byte {
	payload := append([]byte{0, 10, 0, id}, arguments...)
	frame := []byte{1, 0, 0}
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	return append(append(frame, payload...), 0xce)
}

func blockedFrame(reason string) []byte {
	return method(60, append([]byte{byte(len(reason))}, reason...)...)
}

var unblockedFrame = method(61)

// until tries again and again until so is true.
func until(ctx context.Context, t testing.TB, so func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}
