package main

import (
	"io"
	"strings"
	"testing"
)

func TestJudgeAcceptsOnlyACleanRunInWhichFaultsHappened(t *testing.T) {
	const clean = `{"sent":9,"applied":7,"resent":3,"duplicates":2,"superseded":2,"lost":0,"doubled":0,"stale":0,"phantom":0,"leftover":0,"ok":true}`
	for _, c := range []struct{ name, old, new, want string }{
		{"clean", "", "", ""},
		{"lost", `"lost":0`, `"lost":1`, "lost is 1"},
		{"left over", `"leftover":0`, `"leftover":2`, "leftover is 2"},
		{"not ok", `true`, `false`, "ok is false"},
		{"ok as text", `true`, `"true"`, "ok is true"},
		{"no faults", `"resent":3`, `"resent":0`, "resent is 0"},
		{"count missing", `"stale":0,`, ``, "stale is <nil>"},
		{"nothing sent", `"sent":9`, `"sent":0`, "sent is 0"},
		{"cut off", `}`, ``, "no JSON object"},
		{"no object", clean, `null`, "ok is <nil>"},
		{"empty", clean, ``, "no JSON object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := "some line\n" + strings.Replace(clean, c.old, c.new, 1) + "\n"
			if c.name == "empty" {
				in = ""
			}
			err := judge(strings.NewReader(in), io.Discard, []string{"resent", "duplicates", "superseded"})
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
