// Verdict judges the JSON object that "waybill demo --json" and "waybill torture
// --json" end with, for CI:
//
//	waybill demo --json | go run ./scripts/verdict resent duplicates superseded
//
// It copies its input to its output and fails unless the last line is an object in
// which ok is true, nothing is lost, doubled, stale, phantom or left over, messages
// were sent and took effect, and each of the counts named as arguments is above
// zero: a run in which nothing went wrong proves nothing.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := judge(os.Stdin, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
		os.Exit(1)
	}
}

func judge(in io.Reader, out io.Writer, positive []string) error {
	last, err := copyLines(in, out)
	if err != nil {
		return err
	}
	var verdict map[string]any
	if err := json.Unmarshal(last, &verdict); err != nil {
		return fmt.Errorf("the last line is no JSON object: %w", err)
	}
	var problems []error
	if ok, _ := verdict["ok"].(bool); !ok {
		problems = append(problems, fmt.Errorf("ok is %v", verdict["ok"]))
	}
	for _, name := range []string{"lost", "doubled", "stale", "phantom", "leftover"} {
		if count, is := verdict[name].(float64); !is || count != 0 {
			problems = append(problems, fmt.Errorf("%s is %v and should be 0", name, verdict[name]))
		}
	}
	for _, name := range append([]string{"sent", "applied"}, positive...) {
		if count, is := verdict[name].(float64); !is || count <= 0 {
			problems = append(problems, fmt.Errorf("%s is %v and should be above 0", name, verdict[name]))
		}
	}
	return errors.Join(problems...)
}

// copyLines copies all lines and returns the last one that is not empty.
func copyLines(in io.Reader, out io.Writer) (last []byte, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if _, err := fmt.Fprintf(out, "%s\n", lines.Bytes()); err != nil {
			return nil, err
		}
		if len(lines.Bytes()) > 0 {
			last = append(last[:0], lines.Bytes()...)
		}
	}
	return last, lines.Err()
}
