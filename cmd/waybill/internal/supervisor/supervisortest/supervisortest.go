// Package supervisortest lets a test program be the other processes of its scenario: call
// Main from TestMain, and give Exec to the scenario.
package supervisortest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// roleVariable is set for the processes that Exec starts.
const roleVariable = "WAYBILL_TEST_AS_ROLE"

// Main runs the tests, or, in a process that Exec starts, the role. It returns the exit
// status.
func Main(m *testing.M, role func(ctx context.Context, in io.Reader, out, log io.Writer) error) int {
	if os.Getenv(roleVariable) == "" {
		return m.Run()
	}
	if err := role(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Exec makes the command line of this test program as another process of the scenario.
func Exec() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self) // the scenario ends it
	// The race detector would let each process wait for a second at its end.
	cmd.Env = append(os.Environ(), roleVariable+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd, nil
}
