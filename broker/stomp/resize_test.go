package stomp

import (
	"slices"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// As where handlers have become slow, so that no turn comes.
func TestASmallerWindowIsKeptToBeforeItsTurnComes(t *testing.T) {
	for _, c := range []struct {
		name              string
		wanted, unsettled int
		want              int
	}{
		{"none is wanted", 0, 3, 97},
		{"a smaller one", 8, 3, 5},
		{"one that is full", 8, 60, 0},
		{"a larger one", 200, 3, 97},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &receiver{window: 100, unsettled: c.unsettled, arrivals: slices.Repeat([]*frame.Frame{{}}, 150)}
			r.turn.wanted, r.turn.after = c.wanted, time.Now().Add(turnPause)
			if got := len(r.take(1000)); got != c.want {
				t.Errorf("%d messages were taken beside %d, want %d", got, c.unsettled, c.want)
			}
		})
	}
}
