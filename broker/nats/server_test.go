package nats_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/brokertest"
)

// process is a nats-server of a test's own.
type process struct {
	binary, dir string
	port        int
	command     *exec.Cmd
}

// newServer starts a server with JetStream in a directory and on a port of its
// own. Without a nats-server on the path the test is skipped.
func newServer(t testing.TB) *process {
	t.Helper()
	binary, err := exec.LookPath("nats-server")
	if err != nil {
		t.Skip("no nats-server on the path: install it to test what happens when it is killed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	s := &process{binary: binary, dir: t.TempDir(), port: port}
	s.start(t)
	t.Cleanup(func() { s.stop(t, syscall.SIGKILL) })
	return s
}

func (s *process) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// start returns when the server answers.
func (s *process) start(t testing.TB) {
	t.Helper()
	s.command = exec.Command(s.binary, "-js", "-sd", filepath.Join(s.dir, "js"), "-a", "127.0.0.1", "-p", fmt.Sprint(s.port), "-l", filepath.Join(s.dir, "log"))
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	b := open(t, "nats://"+s.address(), options{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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

func TestConformanceWithServerOfItsOwn(t *testing.T) {
	s := newServer(t)
	h := harness("nats://" + s.address())
	h.Restart = func(t testing.TB) { s.stop(t, syscall.SIGKILL); s.start(t) }
	h.Stop = func(t testing.TB) { s.stop(t, syscall.SIGTERM) }
	h.Start = s.start
	brokertest.Test(t, h)
}
