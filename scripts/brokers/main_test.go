package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `
{"Action":"output","Package":"m/broker/stomp","Test":"TestConformance/X","Output":"    b.go:1: brokertest: {\"Server\":\"ActiveMQ 5\",\"Capabilities\":{\"Persistent\":true,\"MaxMessage\":7}}\n"}
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance/X/carry/a"}
{"Action":"skip","Package":"m/broker/stomp","Test":"TestConformance/X/carry/b"}
{"Action":"RESULT","Package":"m/broker/stomp","Test":"TestConformance/X/carry/c"}
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance/X/carry"}
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance/X"}
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance"}
{"Action":"pass","Package":"m/broker/stomp"}
`

func TestTheTableShowsWhatTheSuiteSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "brokers.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(strings.NewReader(strings.ReplaceAll(events, "RESULT", "pass")), path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	row := "| `stomp` | ActiveMQ 5 | yes | no | no | no | no | no | no | 7 bytes | none | 2 | 0 | 1 |\n"
	if got := string(text); !strings.Contains(got, row) || strings.Contains(got, "old") || !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") {
		t.Errorf("the file is\n%s", got)
	}
	if err := run(strings.NewReader(strings.ReplaceAll(events, "RESULT", "fail")), path); err == nil {
		t.Error("a case failed and nothing was said")
	}
	if err := run(strings.NewReader(""), path); err == nil {
		t.Error("no results and nothing was said")
	}
}
