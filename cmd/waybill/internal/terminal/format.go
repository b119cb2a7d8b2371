package terminal

import (
	"fmt"
	"strconv"
	"time"
)

// Destination is a destination's name; a topic is marked.
func Destination(name string, topic bool) string {
	if topic {
		return name + " (topic)"
	}
	return name
}

// Number is n with commas between its thousands.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Age is how old something is, or when it will be due.
func Age(d time.Duration) string {
	if d < -time.Second {
		return "due in " + Span(-d)
	}
	return Span(max(d, 0))
}

// Span is a time in its two greatest units.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < day:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d/day), int(d%day/time.Hour))
}
