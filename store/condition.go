package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Condition is what an error means to the engine, whatever its driver.
type Condition int

const (
	// Other errors say nothing about the database's health.
	Other Condition = iota
	// NoTable: a table or column that the statement names is missing.
	NoTable
	// Conflict: the transaction lost to another one (deadlock, serialization
	// failure, busy database, lock wait time-out). Running it again may succeed.
	Conflict
	// Unavailable: the database or the connection to it is away (refused, reset,
	// shutting down, starting up), or it takes no writes at the moment: out of connections, of
	// memory or of disk space, read-only after a failover.
	Unavailable
)

// String returns the condition's name, such as "Conflict".
func (c Condition) String() string {
	switch c {
	case Other:
		return "Other"
	case NoTable:
		return "NoTable"
	case Conflict:
		return "Conflict"
	case Unavailable:
		return "Unavailable"
	}
	return "unknown condition"
}

// condition adds what database/sql itself says to the dialect's own judgement.
func condition(dialect Dialect, err error) Condition {
	switch {
	case err == nil:
		return Other
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return Unavailable
	case errors.Is(err, context.Canceled):
		return Other
	}
	return dialect.Condition(err)
}

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
