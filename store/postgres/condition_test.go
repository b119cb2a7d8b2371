package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
)

// driverError is an error as lib/pq has it.
type driverError string

func (e driverError) Error() string    { return "pq: " + string(e) }
func (e driverError) SQLState() string { return string(e) }

func TestErrorsAreClassifiedByTheirCode(t *testing.T) {
	for code, want := range map[string]store.Condition{
		"42P01": store.NoTable, "42703": store.NoTable, "3F000": store.NoTable,
		"40001": store.Conflict, "40P01": store.Conflict, "55P03": store.Conflict,
		"08006": store.Unavailable, "57P01": store.Unavailable, "57P03": store.Unavailable, "53300": store.Unavailable, "53100": store.Unavailable, "25006": store.Unavailable, "25P03": store.Unavailable, "25P04": store.Unavailable,
		"23505": store.Other, "22001": store.Other, "42501": store.Other, "57014": store.Other, "28P01": store.Other, "": store.Other,
	} {
		t.Run(code, func(t *testing.T) {
			for _, err := range []error{&pgconn.PgError{Code: code}, driverError(code)} {
				dialecttest.WantCondition(t, postgres.Dialect(), err, want)
				dialecttest.WantCondition(t, postgres.Dialect(), errors.Join(errors.New("joined"), err), want)
			}
		})
	}
}

func TestAFullDatabaseIsKnownByItsErrors(t *testing.T) {
	for code, want := range map[string]bool{"53100": true, "53200": false, "53300": false, "58030": false, "": false} {
		t.Run(code, func(t *testing.T) {
			dialecttest.WantFull(t, postgres.Dialect(), &pgconn.PgError{Code: code}, want)
			dialecttest.WantFull(t, postgres.Dialect(), driverError(code), want)
		})
	}
	t.Run("a text that says so", func(t *testing.T) {
		dialecttest.WantFull(t, postgres.Dialect(), errors.New("53100"), false)
	})
}

func TestErrorsOfTheConnectionAreUnavailable(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
	for _, c := range []struct {
		name string
		err  error
		want store.Condition
	}{
		{"a connection that database/sql gave up", driver.ErrBadConn, store.Unavailable},
		{"the end of the stream", io.EOF, store.Unavailable},
		{"the end within a message", io.ErrUnexpectedEOF, store.Unavailable},
		{"a closed connection", net.ErrClosed, store.Unavailable},
		{"a connection that was reset", syscall.ECONNRESET, store.Unavailable},
		{"a broken pipe", syscall.EPIPE, store.Unavailable},
		{"a refused connection", refused, store.Unavailable},
		{"a name that does not resolve", &net.DNSError{Name: "host"}, store.Unavailable},
		{"a time-out of the connection", os.ErrDeadlineExceeded, store.Unavailable},
		{"a time-out of the caller's", context.DeadlineExceeded, store.Unavailable},
		{"no error", nil, store.Other},
		{"a text that says so", errors.New("connection refused"), store.Other},
		{"a caller who went away", context.Canceled, store.Other},
		{"a connection that broke because its caller went away", errors.Join(io.EOF, context.Canceled), store.Other},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialecttest.WantCondition(t, postgres.Dialect(), c.err, c.want)
		})
	}
}
