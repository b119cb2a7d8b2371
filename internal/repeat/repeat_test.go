package repeat_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-go/waybill/internal/repeat"
)

func TestWhatGoesOnIsToldAtOnceAndThenAtGrowingIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f repeat.Filter
		began := time.Now()
		var told []time.Duration
		var counted, happened int64
		for ; time.Since(began) < 6*time.Hour; time.Sleep(time.Second) {
			happened++
			if times, due := f.Due("reading", "the database takes no writes"); due {
				told = append(told, time.Since(began))
				counted += times
			}
		}
		var want []time.Duration
		for _, minutes := range []int{0, 5, 15, 35, 75, 135, 195, 255, 315} {
			want = append(want, time.Duration(minutes)*time.Minute)
		}
		if !slices.Equal(told, want) {
			t.Errorf("told after %v, want %v", told, want)
		}
		if happened-counted > 3600 {
			t.Errorf("%d of %d times are counted; want all but those of the last hour", counted, happened)
		}
	})
}

func TestWhatHasEndedForAWhileIsNewWhenItComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f repeat.Filter
		for range 100 {
			f.Due("reading", "reset")
			time.Sleep(time.Minute)
		}
		if _, due := f.Due("reading", "reset"); due {
			t.Fatal("told again, though it goes on")
		}
		time.Sleep(repeat.Least)
		if times, due := f.Due("reading", "reset"); !due || times != 1 {
			t.Errorf("got %d times, due %v, want the first time of something new", times, due)
		}
	})
}

func TestANewReasonIsToldAtOnceUnlessThereAreMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f repeat.Filter
		told := 0
		for i := range 1000 {
			if _, due := f.Due("handler", fmt.Sprintf("no order %d", i)); due {
				told++
			}
			if _, due := f.Due("handler", "no order 0"); due {
				t.Fatal("a reason that the log has was told again")
			}
		}
		if told != 5 {
			t.Errorf("told %d times, want the first one and 4", told)
		}
	})
}

func TestWhatComesAndGoesIsToldAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f repeat.Filter
		told := 0
		for i := range 100 {
			if _, due := f.Due("publishing", "queue full"); due {
				told++
			}
			if i == 0 {
				if _, due := f.Due("publishing", "queue full"); due {
					t.Error("told twice before it was over")
				}
			}
			f.Over("publishing")
		}
		if told != 5 {
			t.Errorf("told %d times, want the first one and 4", told)
		}
	})
}

func TestNamesThatAStrangerInventsFillNeitherLogNorMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f repeat.Filter
		told := 0
		for i := range 100_000 {
			if _, due := f.Due(fmt.Sprintf("consumer %d", i), ""); due {
				told++
			}
		}
		if told > 100 {
			t.Errorf("told %d of 100,000 invented names, want 100 at most", told)
		}
		time.Sleep(time.Hour)
		if _, due := f.Due("another", ""); !due {
			t.Error("once they are quiet a new one is not told")
		}
	})
}
