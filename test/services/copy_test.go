// Package services tests scripts/services with a server that is none: a program that
// listens, with a helper and files of its own, as real ones have; and scripts/torture with a
// torture that is none.
package services

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

// listener takes the place of services.d/nats.sh. As some real servers do, it runs as a user
// who may not enter the checkout, so that its files are elsewhere, and has a helper that
// outlives it.
const listener = `
run_as=$(unprivileged nobody)
server_ports() { echo NATS; }
server_packages() { needs perl perl-base; }
server_prepare() { echo precious >data; }
server_run() {
	setsid perl -e 'sleep' &
	echo "$! $(started "$!")" >"$server/helper"
	become perl -MIO::Socket::INET -e '
		my $l = IO::Socket::INET->new(Listen => 5, ReuseAddr => 1, LocalAddr => "127.0.0.1", LocalPort => $ARGV[0]) or die $!;
		while (1) { $l->accept }
	' "$(port NATS)"
}
server_ready() { taken "$(port NATS)"; }
server_addresses() { echo "NATS=127.0.0.1:$(port NATS)"; }
server_version() { echo 1; }
`

// checkout is a checkout with scripts/services, whose server nats is a listener.
type checkout struct {
	t   *testing.T
	dir string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	for _, program := range []string{"bash", "perl", "openssl", "setsid", "flock"} {
		testserver.Program(t, program, "nats")
	}
	c := &checkout{t, filepath.Join(t.TempDir(), "checkout")}
	if err := os.CopyFS(filepath.Join(c.dir, "scripts"), os.DirFS("../../scripts")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "scripts/services.d/nats.sh"), []byte(listener), 0o644); err != nil {
		t.Fatal(err)
	}
	c.cleanUp()
	return c
}

// copied is a copy of everything, the state of the servers included.
func (c *checkout) copied() *checkout {
	c.t.Helper()
	other := &checkout{c.t, c.dir + "-copied"}
	if out, err := exec.Command("cp", "-a", c.dir, other.dir).CombinedOutput(); err != nil {
		c.t.Fatalf("cp: %v\n%s", err, out)
	}
	other.cleanUp()
	return other
}

func (c *checkout) cleanUp() {
	c.t.Cleanup(func() {
		if _, err := os.Stat(c.dir); err == nil {
			c.services("stop")
			c.services("wipe")
		}
	})
}

// services runs a command of scripts/services on the listener.
func (c *checkout) services(command string, env ...string) string {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.dir, "scripts/services"), command, "nats")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WAYBILL_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("services %s: %v\n%s", command, err, out)
	}
	return string(out)
}

// starts has the listener start, and returns its address.
func (c *checkout) starts(env ...string) string {
	c.t.Helper()
	c.services("start", env...)
	return c.address()
}

// address is where the checkout says its listener is; "" for nowhere.
func (c *checkout) address() string {
	c.t.Helper()
	m := regexp.MustCompile(`WAYBILL_TEST_NATS='(.*)'`).FindStringSubmatch(c.services("env"))
	if m == nil {
		return ""
	}
	return m[1]
}

// runs checks that the checkout's listener is there, with its helper and its files.
func (c *checkout) runs(address string) {
	c.t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		c.t.Fatalf("the listener of %s has ended: %v", c.dir, err)
	}
	conn.Close()
	if got := c.address(); got != address {
		c.t.Errorf("got the address %q of %s, want %q as before", got, c.dir, address)
	}
	server := filepath.Join(c.dir, ".services/nats")
	if _, err := os.Stat(filepath.Join(server, "home/data")); err != nil {
		c.t.Errorf("the listener's files are gone: %v", err)
	}
	helper, err := os.ReadFile(filepath.Join(server, "helper"))
	if err != nil {
		c.t.Fatal(err)
	}
	process, _, _ := strings.Cut(string(helper), " ")
	if _, err := os.Stat(filepath.Join("/proc", process)); err != nil {
		c.t.Errorf("the listener's helper has ended: %v", err)
	}
}

func TestACopyOfACheckoutHasServersOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"stop", "wipe", "start"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			original := newCheckout(t)
			at := original.starts("WAYBILL_PORT_BASE=auto")
			original.runs(at)
			c := original.copied()
			c.services(first)
			original.runs(at)
			if first != "start" {
				if address := c.address(); address != "" {
					t.Errorf("the copy says that its listener is at %s, want none", address)
				}
			}
			other := c.starts()
			if other == at || other == "" {
				t.Errorf("the copy's listener is at %q, want another address than %s", other, at)
			}
			c.runs(other)
			original.runs(at)
			c.services("stop")
			c.services("wipe")
			original.runs(at)
		})
	}
}

// A block of ports that becomes free meanwhile is no reason to move: whoever works with the
// server knows it by its address.
func TestAServerThatIsStartedAgainIsWhereItWas(t *testing.T) {
	const auto = "WAYBILL_PORT_BASE=auto"
	lower, c := newCheckout(t), newCheckout(t)
	lower.starts(auto)
	at := c.starts(auto)
	lower.services("stop")
	for _, end := range []string{"kill", "stop", "wipe"} {
		if end == "wipe" {
			c.services("kill")
		}
		c.services(end)
		again := c.starts(auto)
		c.runs(again)
		if again == at {
			continue
		}
		// Somebody else may have taken the port.
		if conn, err := net.Dial("tcp", at); err != nil {
			t.Errorf("after %s the listener is at %s, want %s as before", end, again, at)
		} else {
			conn.Close()
			at = again
		}
	}
}

func TestACheckoutThatIsMovedKeepsItsServers(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	at := c.starts("WAYBILL_PORT_BASE=auto")
	moved := c.dir + "-moved"
	if err := os.Rename(c.dir, moved); err != nil {
		t.Fatal(err)
	}
	c.dir = moved
	c.runs(at)
}

// Beside the state of an earlier version, which does not say where it belongs.
func TestACheckoutOfAnEarlierVersionKeepsItsServersAndItsCopyDoesNot(t *testing.T) {
	t.Parallel()
	original := newCheckout(t)
	at := original.starts("WAYBILL_PORT_BASE=auto")
	if err := os.Remove(filepath.Join(original.dir, ".services/owner")); err != nil {
		t.Fatal(err)
	}
	c := original.copied()
	c.services("stop")
	original.runs(at)
	if other := c.starts(); other == at {
		t.Errorf("the copy's listener is at %s, want another address", other)
	}
	original.runs(at)
}
