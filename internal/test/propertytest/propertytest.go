// Package propertytest runs rapid's checks in numbers that fit a database.
package propertytest

import (
	"flag"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Check is rapid.Check with a default of its own in place of rapid's 100 checks. What
// -rapid.checks says counts before either. No other test of the process may run
// rapid's checks at the same time.
func Check(t *testing.T, checks int, property func(t *rapid.T)) {
	t.Helper()
	const name = "rapid.checks"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if value := flag.Lookup(name).Value; !given {
		before := value.String()
		set := func(number string) { // flag.Set would make it look given
			if err := value.Set(number); err != nil {
				t.Fatal(err)
			}
		}
		set(strconv.Itoa(checks))
		defer set(before)
	}
	rapid.Check(t, property)
}
