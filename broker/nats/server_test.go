package nats_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// process is a nats-server of a test's own.
type process struct {
	binary, dir string
	port        int
	cluster     []string // arguments that make it one of a cluster
	command     *exec.Cmd
}

// newServer starts a server with JetStream, in a directory and on a port of its own.
func newServer(t testing.TB) *process {
	t.Helper()
	s := &process{binary: testserver.Program(t, "nats-server", "nats"), dir: t.TempDir(), port: freePorts(t, 1)[0]}
	s.start(t)
	t.Cleanup(func() { s.stop(t, syscall.SIGKILL) })
	return s
}

// freePorts returns ports that nobody listens on.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // after the others are chosen
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// version is what the server says that it is, such as "NATS 2.9.10".
func (s *process) version(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(s.binary, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), ": v")
	return "NATS " + version
}

func (s *process) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// start returns when the server answers.
func (s *process) start(t testing.TB) {
	t.Helper()
	s.command = exec.Command(s.binary, append([]string{
		"-js", "-sd", filepath.Join(s.dir, "js"), "-a", "127.0.0.1", "-p", fmt.Sprint(s.port), "-l", filepath.Join(s.dir, "log"),
	}, s.cluster...)...)
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	b := open(t, "nats://"+s.address(), options{})
	ctx, cancel := context.WithTimeout(context.Background(), patience.Limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := b.Connect(ctx)
		if err == nil {
			_ = c.Close(ctx)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("nats-server does not answer at %s: %v", s.address(), err)
		}
	}
}

// stop returns when the server has ended.
func (s *process) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.command == nil {
		return
	}
	_ = s.command.Process.Signal(signal)
	_ = s.command.Wait()
	s.command = nil
}

func TestConformanceOfAServerThatIsKilledAndStopped(t *testing.T) {
	s := newServer(t)
	h := harness("nats://"+s.address(), s.version(t)+", killed and stopped")
	h.Restart = func(t testing.TB) { s.stop(t, syscall.SIGKILL); s.start(t) }
	h.Stop = func(t testing.TB) { s.stop(t, syscall.SIGTERM) }
	h.Start = s.start
	brokertest.Test(t, h)
}
