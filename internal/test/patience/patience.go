// Package patience lets tests wait for what happens by itself, for as long as something
// moves. A limit on the whole wait would judge the machine: beside twenty busy processes on
// two processors everything takes ten times as long, and nothing is wrong. A limit on the
// time in which nothing moves judges the code.
package patience

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// Limit is how long nothing may move. It is far beyond what one step takes on a busy
// machine, and is waited out only where a test fails. Who expects that sets another one, as
// WAYBILL_TEST_PATIENCE=20s.
var Limit = limit(os.Getenv("WAYBILL_TEST_PATIENCE"))

func limit(text string) time.Duration {
	if text == "" {
		return 2 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		panic(fmt.Sprintf("WAYBILL_TEST_PATIENCE is %q, and no time such as 20s", text))
	}
	return d
}

// The pauses between two looks: short ones at first, and longer ones where a look itself
// takes long, so that looking is never most of the work.
const (
	least = time.Millisecond
	most  = 20 * time.Millisecond
)

// Until waits until so reports true. It fails the test, with what is waited for, once the
// marks have been as they are for Limit. Marks are what changes while there is progress, such
// as a count of messages; they are printed with a failure. Without any, Limit is for the
// whole wait, which is right where one thing is to happen. It may be called from the test's
// goroutine alone, also in a bubble of testing/synctest.
func Until(t testing.TB, what string, so func() bool, marks ...func() any) {
	t.Helper()
	Within(t, Limit, what, so, marks...)
}

// Within is Until with a limit of its own, for what is known to take long in silence.
func Within(t testing.TB, limit time.Duration, what string, so func() bool, marks ...func() any) {
	t.Helper()
	began := time.Now()
	moved, last, pause := began, "", least
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		<-timer.C
		looked := time.Now()
		if so() {
			return
		}
		now := time.Now()
		if mark := sample(marks); mark != last {
			moved, last = now, mark
		}
		if now.Sub(moved) >= limit {
			t.Fatalf("%s: not within %v, and nothing has moved for %v%s", what, now.Sub(began).Round(time.Millisecond), limit, last)
		}
		pause = min(2*pause, max(most, now.Sub(looked)))
		timer.Reset(pause)
	}
}

// sample is the marks as text.
func sample(marks []func() any) string {
	text := ""
	for _, mark := range marks {
		text += fmt.Sprintf("; %+v", mark())
	}
	return text
}

// Context returns a context for one step of a test, which ends after Limit or with the test.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	t.Cleanup(cancel)
	return ctx
}
