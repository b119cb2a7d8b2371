// Package redact keeps passwords out of what is shown: Address is for the addresses of
// databases and brokers, also for those that are wrong, Text for what is said about one,
// such as a driver's error, and Message for any text in which an address may stand.
//
// Nobody can tell what somebody meant by an address that is wrong. So there is shown what
// is certainly harmless, by its form or by its place, and the rest is hidden.
//
// The files: redact.go (what others call), address.go (an address as a whole), secret.go
// (names of secrets, and the forms in which one may be repeated), message.go (where in a text
// an address or a secret begins and ends).
package redact

import (
	"slices"
	"strings"
)

// Hidden stands where something is hidden.
const Hidden = "xxxxx"

// Address returns an address of any kind without what is a secret in it, or may be one
// where the address is wrong. It hides too much rather than too little.
func Address(addr string) string {
	shown, _ := split(addr)
	return shown
}

// Text returns what is said about an address without the secrets of that.
func Text(addr, text string) string {
	_, secrets := split(addr)
	return without(secrets, text)
}

// without returns a text in which nothing of some secrets is seen. One may be a part of
// another, so that the longest is looked for first.
func without(secrets []string, text string) string {
	slices.SortStableFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, Hidden)
	}
	return text
}

// Error returns err, or one with the same chain whose text is without the secrets of an
// address.
func Error(addr string, err error) error {
	if err == nil {
		return nil
	}
	text := Text(addr, err.Error())
	if text == err.Error() {
		return err
	}
	return &redacted{text, err}
}

// redacted is an error whose own text must not be shown.
type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// Argument returns what somebody has given, which may be an address or any other text,
// without the secrets in it. It knows where the address ends, as Message does not.
func Argument(text string) string {
	s := &scanner{}
	shown := s.argument(text)
	return without(s.kept, shown)
}

// passes is how often an address is looked at again, at most.
const passes = 5

// split returns an address without its secrets, and these. What is shown is looked at again:
// what is left of a wrong address may look like another one.
func split(addr string) (shown string, secrets []string) {
	shown = addr
	for range passes {
		s := &splitter{}
		for piece := range pieces(shown) {
			s.one(piece)
		}
		secrets = append(secrets, s.kept...)
		if s.shown.String() == shown {
			return shown, secrets
		}
		shown = s.shown.String()
	}
	return Hidden, secrets
}
