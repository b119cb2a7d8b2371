package journey

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// service is a broker's server of a test's own, which may be killed and lose its data.
type service struct {
	t       *testing.T
	name    string
	scripts string            // a copy of scripts/, so that its data and ports are its own
	env     map[string]string // what "scripts/services env" prints
}

// newService starts a server with scripts/services. Where that script does not run the
// shared one, as where compose.yaml does, the test is skipped, or where servers are
// required it fails if the script cannot start one.
func newService(t *testing.T, name, variable string) *service {
	t.Helper()
	testserver.Startable(t, variable)
	s := &service{t: t, name: name, scripts: filepath.Join(t.TempDir(), "scripts")}
	if err := os.CopyFS(s.scripts, os.DirFS("../../scripts")); err != nil {
		t.Fatal(err)
	}
	// An unprivileged server has to get at its data.
	for dir := s.scripts; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.logEnd())
		}
		if output, err := s.try("stop", name); err != nil {
			t.Errorf("services stop: %v\n%s", err, output)
		}
	})
	s.do("start", name)
	s.env = map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)=(.*)$`).FindAllStringSubmatch(s.do("env", name), -1) {
		s.env[m[1]] = strings.Trim(m[2], `'"`)
	}
	return s
}

// logEnd is the end of the server's log, and whether it runs.
func (s *service) logEnd() string {
	status, _ := s.try("status", s.name)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.scripts), ".services", s.name, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(len(text)-5000, 0):]) + status
}

func (s *service) try(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(s.scripts, "services"), args...)
	cmd.Env = append(os.Environ(), "WAYBILL_PORT_BASE=auto")
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func (s *service) do(args ...string) string {
	s.t.Helper()
	output, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("services %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

// servers are the brokers' servers with the addresses of their connectors.
var servers = []struct{ name, variables string }{
	{"activemq", "WAYBILL_TEST_ACTIVEMQ_AMQP1 WAYBILL_TEST_ACTIVEMQ_STOMP"},
	{"artemis", "WAYBILL_TEST_ARTEMIS_AMQP1 WAYBILL_TEST_ARTEMIS_STOMP"},
	{"rabbitmq", "WAYBILL_TEST_RABBITMQ"},
	{"nats", "WAYBILL_TEST_NATS"},
	{"kafka", "WAYBILL_TEST_KAFKA"},
}

// TestAServerThatIsKilledOrLosesItsDataCostsNothing sends on every database over
// every connector of every broker while the broker is killed with SIGKILL and
// started again, and then killed and started again without its data.
func TestAServerThatIsKilledOrLosesItsDataCostsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes; without -short it runs")
	}
	t.Parallel()
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			variables := strings.Fields(server.variables)
			s := newService(t, server.name, variables[0])
			var worlds []*world
			for _, variable := range variables {
				for _, d := range databases {
					b, err := address.OpenBroker(s.env[variable])
					if err != nil {
						t.Fatalf("%s: %v", variable, err)
					}
					w := newWorld(t, d, b)
					w.name = strings.ToLower(strings.TrimPrefix(variable, "WAYBILL_TEST_")) + "." + d.name
					w.relayOptions.Producer = w.name
					w.inboxOptions.Batch = 50
					w.runs(w.relay().Run)
					w.runs(w.inbox().Run)
					worlds = append(worlds, w)
				}
			}
			// midway kills the server while messages are on their way in every world, does
			// something to it, and starts it again while more are being sent.
			midway := func(then func()) {
				t.Helper()
				var sending sync.WaitGroup
				defer sending.Wait()
				before := make([]int64, len(worlds))
				for i, w := range worlds {
					before[i] = w.effects()
					sending.Go(func() { w.trickle(150) })
				}
				for i, w := range worlds {
					w.waits(w.name+": messages are on their way", 2*time.Minute, func() bool { return w.effects() >= before[i]+10 })
				}
				s.do("kill", s.name)
				then()
				s.do("start", s.name)
			}
			midway(func() {})
			midway(func() { s.do("wipe", s.name) })
			for _, w := range worlds {
				w.emptied(3 * time.Minute)
				w.judge()
			}
		})
	}
}

// trickle commits n messages, half of them states of a few keys, over a few seconds.
func (w *world) trickle(n int) {
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	for i := range n {
		m := waybill.Message{Destination: "events", Body: []byte("event")}
		if i%2 == 0 {
			m.Destination, m.Key = "states", fmt.Sprint("order ", i%5)
		}
		err := w.out.InTx(context.Background(), w.producer, func(tx *sql.Tx) error { return w.write(context.Background(), tx, m) })
		if err != nil {
			w.t.Errorf("%s: send: %v", w.name, err)
		}
		<-pace.C
	}
}
