package kafka

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// watchedConn is a network connection that says when it breaks. The client library would
// open another one and say nothing.
type watchedConn struct {
	net.Conn
	broken func(error) // called with the reason
	// ours is set when the library itself has ended it: by Close, as it does when it is
	// idle, or by a deadline in the past, which is how it cancels a request. What fails
	// then does not mean that the connection broke.
	ours atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.check(err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.check(err)
	return n, err
}

// check reports an error of the network, unless the library itself is the reason.
func (c *watchedConn) check(err error) {
	if err == nil || c.ours.Load() {
		return
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = fmt.Errorf("it does not answer in time: %w", err)
	}
	c.broken(fmt.Errorf("kafka: the connection to the broker at %s broke: %w", c.RemoteAddr(), err))
}

// Close is the library'c.
func (c *watchedConn) Close() error {
	c.ours.Store(true)
	return c.Conn.Close()
}

// SetDeadline is the library'c.
func (c *watchedConn) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is the library'c.
func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is the library'c.
func (c *watchedConn) SetWriteDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetWriteDeadline(t)
}

// note looks whether a deadline is in the past.
func (c *watchedConn) note(t time.Time) {
	if !t.IsZero() && !t.After(time.Now()) {
		c.ours.Store(true)
	}
}
