package kafka

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// socket is a network connection that tells when it breaks. The client library would
// open another one without a word.
type socket struct {
	net.Conn
	broken func(error)
	// local: the library closed it, as it does when it is idle, or has set a deadline
	// that is past, which is how it takes back a request. What fails then is no news.
	local atomic.Bool
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.check(err)
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.check(err)
	return n, err
}

func (s *socket) check(err error) {
	if err == nil || s.local.Load() {
		return
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = fmt.Errorf("it does not answer in time: %w", err)
	}
	s.broken(fmt.Errorf("kafka: the connection to the broker at %s broke: %w", s.RemoteAddr(), err))
}

// Close is the library's.
func (s *socket) Close() error {
	s.local.Store(true)
	return s.Conn.Close()
}

// SetDeadline is the library's.
func (s *socket) SetDeadline(t time.Time) error {
	s.note(t)
	return s.Conn.SetDeadline(t)
}

// SetReadDeadline is the library's.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.note(t)
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is the library's.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.note(t)
	return s.Conn.SetWriteDeadline(t)
}

func (s *socket) note(t time.Time) {
	if !t.IsZero() && !t.After(time.Now()) {
		s.local.Store(true)
	}
}
