package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/relay"
)

// parseBreaker reads the value of a flag: "20" rejections in a row, or a share of those
// within a time, "50%/1m".
func parseBreaker(flag, value string, length time.Duration) (waybill.Breaker, error) {
	b := waybill.Breaker{For: length}
	var err error
	share, window, isRate := strings.Cut(value, "%/")
	if isRate {
		var percent float64
		percent, err = strconv.ParseFloat(share, 64)
		b.Rate = percent / 100
		if err == nil {
			b.Window, err = time.ParseDuration(window)
		}
	} else {
		b.InARow, err = strconv.Atoi(value)
	}
	if err != nil || !b.IsOn() || b.Check() != nil || isRate && b.Window == 0 {
		return b, usagef("--%s: %.40q is neither a number of rejections in a row, such as 20, nor a share within a time of a second or more, such as 50%%/1m", flag, value)
	}
	return b, nil
}

// eachOf sets something for destinations, from values NAME=VALUE: NAME is a queue or topic,
// topic:NAME a topic alone, and * all that no other value names.
func eachOf(ro *relay.Options, flag string, values []string, set func(d *relay.Destination, value string) error) error {
	var wrong []error
	for _, own := range []bool{false, true} { // what is said of all comes first
		for _, v := range values {
			name, value, found := strings.Cut(v, "=")
			if (name != "*") != own {
				continue
			}
			if !found || name == "" || value == "" {
				wrong = append(wrong, usagef("--%s %.80q is not NAME=VALUE", flag, v))
				continue
			}
			wrong = append(wrong, setEach(ro, name, func(d *relay.Destination) error { return set(d, value) }))
		}
	}
	return errors.Join(wrong...)
}

// setEach sets something for the destinations that a name stands for, and leaves all else
// that is known of them.
func setEach(ro *relay.Options, name string, set func(d *relay.Destination) error) error {
	if name == "*" {
		for _, exceptions := range []map[string]relay.Destination{ro.Destinations, ro.Topics} {
			for key, d := range exceptions {
				if err := set(&d); err != nil {
					return err
				}
				exceptions[key] = d
			}
		}
		return set(&ro.Default)
	}
	topic, isTopic := strings.CutPrefix(name, topicPrefix)
	change := func(exceptions map[string]relay.Destination, key string, d relay.Destination) error {
		err := set(&d)
		exceptions[key] = d
		return err
	}
	if isTopic {
		return change(ro.Topics, topic, knownAs(ro, topic, true))
	}
	if d, known := ro.Topics[name]; known {
		if err := change(ro.Topics, name, d); err != nil {
			return err
		}
	}
	return change(ro.Destinations, name, knownAs(ro, name, false))
}

// knownAs is what is known of a destination.
func knownAs(ro *relay.Options, name string, topic bool) relay.Destination {
	if d, known := ro.Topics[name]; known && topic {
		return d
	}
	if d, known := ro.Destinations[name]; known {
		return d
	}
	return ro.Default
}

// setSteering sets what --per-second and --breaker say.
func (f *relayFlags) setSteering(ro *relay.Options) error {
	err := eachOf(ro, "per-second", f.perSecond, func(d *relay.Destination, value string) (err error) {
		if d.PerSecond, err = strconv.ParseFloat(value, 64); err != nil || !(d.PerSecond > 0) {
			return usagef("--per-second: %.40q is no number above 0", value)
		}
		return nil
	})
	return errors.Join(err, eachOf(ro, "breaker", f.breakers, func(d *relay.Destination, value string) (err error) {
		d.Breaker, err = parseBreaker("breaker", value, f.breakerFor)
		return err
	}))
}
