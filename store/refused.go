package store

import "errors"

// ErrRefused matches where a database does not let us in, and trying again cannot help
// unless somebody changes something: a wrong password, or a database that does not exist.
var ErrRefused = errors.New("waybill: the database refuses the connection")

// refusedError is the database's own error, and matches ErrRefused too.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error        { return e.error }
func (e *refusedError) Is(target error) bool { return target == ErrRefused }

// asRefused has err match ErrRefused where it says so; any other error it returns as it is.
func asRefused(dialect Dialect, err error) error {
	if !dialect.Refused(err) {
		return err
	}
	return &refusedError{err}
}
