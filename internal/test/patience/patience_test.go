package patience_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// failing is a test that may fail, and says with what.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// waited is how long a wait took, and with what it failed.
func waited(wait func(t testing.TB)) (took time.Duration, said string) {
	f := &failing{}
	began := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait(f)
	}()
	<-done
	return time.Since(began), f.said
}

func TestAWaitGoesOnForAsLongAsSomethingMoves(t *testing.T) {
	for _, c := range []struct {
		name    string
		moves   time.Duration // for how long something moves, once a minute
		so      time.Duration // when what is waited for is so
		atLeast time.Duration
		atMost  time.Duration
		says    string
	}{
		{name: "it is so", atMost: 0},
		{name: "it is so within the limit, and nothing moves", so: time.Minute, atLeast: time.Minute, atMost: time.Minute + time.Second},
		{name: "it is so after twenty minutes of progress", moves: 20 * time.Minute, so: 20 * time.Minute, atLeast: 20 * time.Minute, atMost: 20*time.Minute + time.Second},
		{name: "nothing moves", so: time.Hour, atLeast: patience.Limit, atMost: patience.Limit + time.Second, says: "the end: not within 2m0"},
		{name: "nothing moves any more", moves: 20 * time.Minute, so: time.Hour, atLeast: 20*time.Minute + patience.Limit, atMost: 20*time.Minute + patience.Limit + time.Second, says: "; 20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				took, said := waited(func(t testing.TB) {
					patience.Until(t, "the end",
						func() bool { return time.Since(began) >= c.so },
						func() any { return int(min(time.Since(began), c.moves).Minutes()) })
				})
				if took < c.atLeast || took > c.atMost || (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
					t.Errorf("waited for %v and failed with %q, want %v to %v and %q", took, said, c.atLeast, c.atMost, c.says)
				}
			})
		})
	}
}

func TestALookThatTakesLongIsFollowedByAsLongAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		waited(func(t testing.TB) {
			patience.Until(t, "the end", func() bool {
				looks++
				time.Sleep(time.Second) // of the bubble's time
				return false
			})
		})
		if limit := int(patience.Limit / (2 * time.Second)); looks > limit+12 {
			t.Errorf("looked %d times, want about %d: half of the time at most", looks, limit)
		}
	})
}
