package foreign

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const root = "../.."

// program is a foreign program that runs. What it says it says in lines: a queue, what has
// happened there, and more, between tabs.
type program struct {
	name  string
	stdin io.WriteCloser
	kill  func() // and waits until it has ended

	mu     sync.Mutex
	said   map[string][][]string // by queue, without the queue
	heard  int                   // lines
	stderr strings.Builder
	ended  bool
}

// start starts a program, and kills it when the test ends.
func start(t *testing.T, name string, env []string, command string, args ...string) *program {
	t.Helper()
	p := &program{name: name, said: map[string][][]string{}}
	cmd := exec.Command(command, args...)
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p.stdin = stdin
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.hear(strings.Split(lines.Text(), "\t"))
		}
	})
	reading.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.stderr, lines.Text())
			p.mu.Unlock()
		}
	})
	waited := make(chan struct{})
	p.kill = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-waited
	}
	go func() {
		reading.Wait()
		_ = cmd.Wait() // how it ended, its lines say
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		close(waited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s said on standard error:\n%s", name, p.stderr.String())
		}
	})
	return p
}

func (p *program) hear(line []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard++
	p.said[line[0]] = append(p.said[line[0]], line[1:])
}

// lines are what the program has said about a queue so far.
func (p *program) lines(queue string) [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said[queue])
}

// progress is how much a program has said, and whether it has ended: a mark for patience.
func (p *program) progress() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.heard, p.stderr.Len(), p.ended)
}

func (p *program) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// waits returns when the program has said something about a queue.
func (p *program) waits(t *testing.T, queue, what string) {
	t.Helper()
	patience.Until(t, fmt.Sprintf("%s: %s says %q", queue, p.name, what), func() bool {
		for _, line := range p.lines(queue) {
			switch line[0] {
			case what:
				return true
			case "failed":
				t.Fatalf("%s: %s has failed: %s", queue, p.name, strings.Join(line[1:], " "))
			}
		}
		if p.hasEnded() {
			t.Fatalf("%s: %s has ended, and not said %q", queue, p.name, what)
		}
		return false
	})
}

// fleet has the programs of a test: one of java/ for all cases, and of python/ a process for
// each command.
type fleet struct {
	t    *testing.T // the test that all the cases are below
	once sync.Once
	jms  *program
}

// run has the client's program carry out a command: "produce" to queues whose names begin so,
// or "consume" from a queue. What it says about these is in what is returned.
func (f *fleet) run(t *testing.T, c *client, command string, queues ...string) *program {
	t.Helper()
	if c.program != "jms" {
		args := append([]string{filepath.Join("python", c.program), command, c.address(t)}, queues...)
		return start(t, c.program, []string{"PYTHONDONTWRITEBYTECODE=1"}, python(t), args...)
	}
	dir := testserver.Foreign(t, root, "jms")
	at := c.address(t)
	f.once.Do(func() {
		f.jms = start(f.t, "Jms.java", nil, java(), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
			"-cp", dir+string(filepath.ListSeparator)+filepath.Join(dir, "*"), "Jms")
	})
	if f.jms == nil {
		t.Fatal("Jms.java could not be started")
	}
	f.jms.mu.Lock()
	defer f.jms.mu.Unlock()
	for _, queue := range queues {
		if _, err := fmt.Fprintf(f.jms.stdin, "%s\t%s\t%s\n", command, at, queue); err != nil {
			t.Fatalf("Jms.java does not listen: %v", err)
		}
	}
	return f.jms
}

// find finds a message of Jms.java that was not received: in its queue, or where the server puts
// what it fails to deliver. Several tests may ask at a time.
func (f *fleet) find(t *testing.T, c *client, queue string) (outcome string) {
	t.Helper()
	patience.Until(t, "the message of "+queue+" is somewhere", func() bool {
		for _, in := range []string{queue, c.server.deadLetter} {
			count := func() int { return len(f.jms.lines(in)) }
			before := count()
			f.run(t, c, "browse", in)
			patience.Until(t, "the queue "+in+" is looked at", func() bool { return count() > before })
		}
		for _, line := range f.jms.lines(queue) {
			switch {
			case line[0] != "is in":
			case line[1] == queue:
				outcome = stays
			default:
				outcome = dead
			}
		}
		return outcome != ""
	})
	return outcome
}

// java is the Java machine's program.
func java() string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java")
	}
	return "java"
}

// python is the Python that has the clients.
func python(t *testing.T) string {
	t.Helper()
	return filepath.Join(testserver.Foreign(t, root, "python"), "bin", "python")
}

// rewritten is a server's address with the scheme that a foreign program knows.
func rewritten(t *testing.T, address, scheme string) string {
	t.Helper()
	u := parsed(t, address)
	u.Scheme = scheme
	return u.String()
}

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// quiet is a log of what is not as it should be, shown with a failure.
func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
