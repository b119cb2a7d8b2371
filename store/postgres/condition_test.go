package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-go/waybill/store"
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
		"08006": store.Unavailable, "57P01": store.Unavailable, "57P03": store.Unavailable, "53300": store.Unavailable, "53100": store.Unavailable, "25006": store.Unavailable,
		"23505": store.Other, "22001": store.Other, "42501": store.Other, "57014": store.Other, "28P01": store.Other, "": store.Other,
	} {
		for _, err := range []error{&pgconn.PgError{Code: code}, driverError(code)} {
			for _, err := range []error{err, fmt.Errorf("wrapped: %w", err), errors.Join(errors.New("joined"), err)} {
				if got := postgres.Dialect().Condition(err); got != want {
					t.Errorf("%v: condition %d, want %d", err, got, want)
				}
			}
		}
	}
}

func TestErrorsOfTheConnectionAreUnavailable(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
	for _, err := range []error{
		driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, refused,
		&net.DNSError{Name: "host"}, os.ErrDeadlineExceeded, context.DeadlineExceeded,
	} {
		if got := postgres.Dialect().Condition(fmt.Errorf("wrapped: %w", err)); got != store.Unavailable {
			t.Errorf("%v: condition %d, want Unavailable", err, got)
		}
	}
	for _, err := range []error{nil, errors.New("connection refused"), context.Canceled, fmt.Errorf("%w: %w", io.EOF, context.Canceled)} {
		if got := postgres.Dialect().Condition(err); got != store.Other {
			t.Errorf("%v: condition %d, want Other", err, got)
		}
	}
}
