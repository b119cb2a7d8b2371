package option_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/internal/option"
)

type options struct{ Size int }

func TestTheCallersOptionsAreCopiedAndNilIsTheZeroValue(t *testing.T) {
	caller := &options{Size: 1}
	own := option.Copy(caller)
	own.Size = 2
	if caller.Size != 1 {
		t.Errorf("the caller's option is %d, want 1", caller.Size)
	}
	if got := *option.Copy[options](nil); got != (options{}) {
		t.Errorf("nil became %+v, want the zero value", got)
	}
}

func TestADefaultTakesThePlaceOfTheZeroValueAlone(t *testing.T) {
	unset, set := 0, 7
	option.SetDefault(&unset, 5)
	option.SetDefault(&set, 5)
	if unset != 5 || set != 7 {
		t.Errorf("got %d and %d, want 5 and 7", unset, set)
	}
}

func TestWhatIsOutOfRangeIsNamedWithTheRange(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string // "" for no error
	}{
		"a duration within":  {option.Between("Beat", time.Second, time.Second, time.Hour), ""},
		"a duration too low": {option.Between("Beat", time.Millisecond, 100*time.Millisecond, time.Hour), "Beat is 1ms, not 100ms to 1h"},
		"minutes":            {option.Between("Beat", time.Hour, 10*time.Second, 20*time.Minute), "Beat is 1h, not 10s to 20m"},
		"a number within":    {option.Between("Replicas", 5, 1, 5), ""},
		"a number too high":  {option.Between("Replicas", 9, 1, 5), "Replicas is 9, not 1 to 5"},
		"zero":               {option.NotNegative("MaxMessage", 0), ""},
		"below zero":         {option.NotNegative("MaxMessage", -1), "MaxMessage is below 0"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if c.err != nil {
				got = c.err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAParameterThatIsFalseSetsTheOption(t *testing.T) {
	for value, want := range map[string]struct{ set, fails bool }{
		"": {}, "true": {}, "false": {set: true}, "perhaps": {fails: true},
	} {
		t.Run("create="+value, func(t *testing.T) {
			set := false
			err := option.Negated(url.Values{"create": {value}}, "create", &set)
			if set != want.set || (err != nil) != want.fails {
				t.Errorf("got %v, error %v; want %v, an error %v", set, err, want.set, want.fails)
			}
		})
	}
}
