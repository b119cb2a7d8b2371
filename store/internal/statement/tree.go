package statement

import "iter"

// Tree is an error and all that it wraps, also by errors.Join and by several %w, in the
// order of errors.Is.
func Tree(err error) iter.Seq[error] {
	return func(yield func(error) bool) { walk(err, yield) }
}

func walk(err error, yield func(error) bool) bool {
	if err == nil {
		return true
	}
	if !yield(err) {
		return false
	}
	switch wraps := err.(type) { //nolint:errorlint // it is taken apart here
	case interface{ Unwrap() error }:
		return walk(wraps.Unwrap(), yield)
	case interface{ Unwrap() []error }:
		for _, inner := range wraps.Unwrap() {
			if !walk(inner, yield) {
				return false
			}
		}
	}
	return true
}
