// Package process kills real processes: "waybill relay" and a consumer, on PostgreSQL
// and ActiveMQ, die by SIGKILL again and again while a producer commits and rolls
// back. Then the producer's and the consumer's database are compared.
//
// The files: main_test.go (what runs as which process), kill_test.go (the test),
// nemesis_test.go (who dies when), process_test.go (the processes), producer_test.go and
// consumer_test.go (what they do), checker_test.go (the comparison).
package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// role is the variable that makes this test program the consumer.
const role = "WAYBILL_PROCESS_TEST_ROLE"

// program is the path of the command waybill, built for this run.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(role) == "consumer" {
		os.Exit(consumerMain())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "waybill-process-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "waybill")
	return m.Run()
}

// build builds the command as this test is built: with the race detector where it has that.
func build(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(program); err == nil {
		return
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("this test does not say how it was built")
	}
	args := []string{"build", "-o", program}
	for _, s := range info.Settings {
		switch s.Key {
		case "-race", "-gcflags":
			args = append(args, s.Key+"="+s.Value)
		}
	}
	out, err := exec.Command("go", append(args, "github.com/waybill-go/waybill/cmd/waybill")...).CombinedOutput()
	if err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
}
