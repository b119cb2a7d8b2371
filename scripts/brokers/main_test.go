package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
)

const events = `
{"Action":"output","Package":"m/broker/stomp","Test":"TestConformance/X","Output":"    b.go:1: brokertest: {\"Server\":\"ActiveMQ 5\",\"Capabilities\":{\"Name\":\"STOMP\",\"Persistent\":true,\"MaxMessage\":7}}\n"}
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance/X/carry/a"}
{"Action":"skip","Package":"m/broker/stomp","Test":"TestConformance/X/carry/b"}
{"Action":"output","Package":"m/broker/stomp","Test":"TestConformance/X/carry/c","Output":"    c.go:1: what went wrong\n"}
{"Action":"RESULT","Package":"m/broker/stomp","Test":"TestConformance/X/carry/c"}
{"Action":"RESULT","Package":"m/broker/stomp","Test":"TestConformance/X/carry"}
WHOLE
{"Action":"pass","Package":"m/broker/stomp","Test":"TestConformance/XY/carry/other"}
{"Action":"PACKAGE","Package":"m/broker/nats"}
`

// fill runs the command on a file and returns what became of it.
func fill(t *testing.T, replace ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "brokers.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(strings.NewReader(strings.NewReplacer(replace...).Replace(events)), path)
	text, readErr := os.ReadFile(path)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

const whole = `{"Action":"RESULT","Package":"m/broker/stomp","Test":"TestConformance/X"}`

func TestTheTableShowsWhatTheSuiteSaid(t *testing.T) {
	for name, c := range map[string]struct {
		replace []string
		row     string
		fails   bool
	}{
		"all passed": {
			replace: []string{"WHOLE", strings.ReplaceAll(whole, "RESULT", "pass"), "RESULT", "pass", "PACKAGE", "pass"},
			row:     "| `stomp` | STOMP | ActiveMQ 5 | passed 2, 1 not asked | yes | no | no | no | no | no | no | no | no | messages of 7 bytes |\n" + end,
		},
		"a case failed": {
			replace: []string{"WHOLE", strings.ReplaceAll(whole, "RESULT", "fail"), "RESULT", "fail", "PACKAGE", "pass"},
			row:     "| `stomp` | STOMP | ActiveMQ 5 | **failed** 1 of 2, 1 not asked | yes |", fails: true,
		},
		"the run never ended": {
			replace: []string{"WHOLE", "panic: not JSON", "RESULT", "pass", "PACKAGE", "pass"},
			row:     "| `stomp` | STOMP | ActiveMQ 5 | **failed**: ended after 3 cases | yes |", fails: true,
		},
		"another package does not begin": {
			replace: []string{"WHOLE", strings.ReplaceAll(whole, "RESULT", "pass"), "RESULT", "pass", "PACKAGE", "fail"},
			row:     "| `nats` |  |  | **failed** before it began | ? |", fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := fill(t, c.replace...)
			if !strings.Contains(text, c.row) || strings.Contains(text, "old") || !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, "after\n") {
				t.Errorf("got the file\n%swant its table to hold\n%s", text, c.row)
			}
			if (err != nil) != c.fails {
				t.Errorf("got the error %v, want one: %v", err, c.fails)
			}
			if name == "a case failed" && !strings.Contains(err.Error(), "TestConformance/X/carry/c\n    c.go:1: what went wrong") {
				t.Errorf("got %v, want what failed in it", err)
			}
		})
	}
	if err := run(strings.NewReader(""), "nowhere"); err == nil {
		t.Error("got no error without results, want one")
	}
}

// What is added to Capabilities is added to the table.
func TestEveryCapabilityIsInTheTable(t *testing.T) {
	without := row(&result{declared: true})
	for i := range reflect.TypeFor[broker.Capabilities]().NumField() {
		r := &result{declared: true, Declaration: brokertest.Declaration{}}
		field := reflect.ValueOf(&r.Capabilities).Elem().Field(i)
		switch {
		case field.CanInt():
			field.SetInt(1)
		case field.Kind() == reflect.Bool:
			field.SetBool(true)
		default:
			field.SetString("x")
		}
		if row(r) == without {
			t.Errorf("got a row without %s, want it there", reflect.TypeFor[broker.Capabilities]().Field(i).Name)
		}
	}
}

func TestTheTableInTheDocumentationIsUpToDate(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operate", "brokers.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), begin)
	rows, _, _ := strings.Cut(rest, end)
	if !strings.HasPrefix(rows, header()) {
		t.Errorf("its columns are others, run make brokers-table; want\n%s", header())
	}
	if strings.Contains(rows, "**failed**") {
		t.Errorf("got an adapter that has failed the suite, want none:\n%s", rows)
	}
}

func TestRowsOfAdaptersThatWereNotRunStay(t *testing.T) {
	old := header() + "| `kafka` | old |\n| `stomp` | old |\n"
	run := &result{adapter: "stomp", declared: true, passed: true}
	got := table([]*result{run}, old)
	if want := header() + "| `kafka` | old |\n" + row(run); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
