package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Unreachable reports whether err says that the connection to a server, and not
// the server, failed: refused, reset, closed in the middle of an answer, timed out.
// It knows the standard library's errors, which every driver wraps, and drivers'
// own ones by behaviour: a method SafeToRetry() that says that nothing was sent.
// Dialects of databases behind a network use it in Condition.
func Unreachable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	for _, known := range []error{
		driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	// A dial error, a name that does not resolve, a time-out; context.DeadlineExceeded
	// is one too: a database that does not answer in time is away.
	if netErr := net.Error(nil); errors.As(err, &netErr) {
		return true
	}
	var unsent interface{ SafeToRetry() bool }
	return errors.As(err, &unsent) && unsent.SafeToRetry()
}
