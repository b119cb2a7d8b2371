package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// pasted makes of an example what a test can run: with the addresses of its own database and
// broker.
var pasted = strings.NewReplacer(
	"postgres://app:secret@localhost/app", "sqlite:app.db", "amqp1://app:secret@localhost", "embedded:broker",
	"rabbitmq://app:secret@localhost", "embedded:broker", ":9090", "127.0.0.1:0",
)

// endless are the examples that run until somebody ends them, by what they say before; the
// others of these commands end by themselves.
var endless = []struct {
	example *regexp.Regexp
	says    string
}{
	{regexp.MustCompile(`waybill relay`), "relay leads"},
	{regexp.MustCompile(`waybill receive (?:orders --consumer shipping --level latest$|mails|prices)`), "connected to the broker"},
	{regexp.MustCompile(`waybill status --watch`), ""},
}

// elsewhere are the examples of which the flags alone are read here: these commands' runs have
// tests of their own, and a schema is SQLite's only where it is attached.
var elsewhere = regexp.MustCompile(`waybill (?:demo|torture|ui|health|resume|init --prefix)`)

func TestTheExamplesOfHelpWorkWhenPasted(t *testing.T) {
	t.Parallel()
	root, _ := newRoot()
	examples := 0
	for _, c := range append(root.Commands(), root) {
		if c.Hidden {
			continue
		}
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if !strings.Contains(line, "waybill ") {
				continue // the root's variables
			}
			examples++
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				newPasteBoard(t).paste(strings.TrimSuffix(line, " &"))
			})
		}
	}
	if examples < 30 {
		t.Errorf("got %d examples, want 30 at least", examples)
	}
}

// pasteBoard is a workspace whose shell finds the command, and the files of the examples.
type pasteBoard struct {
	*workspace
	id string // of a rejected message
}

func newPasteBoard(t *testing.T) *pasteBoard {
	t.Helper()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	for name, text := range map[string]string{
		"waybill": "#!/bin/sh\nexec " + os.Args[0] + " \"$@\"\n", "deliver.sh": "#!/bin/sh\n",
		"jq":       "#!/bin/sh\ncase \"$*\" in *orders.json) echo '{\"key\":\"A-1\",\"body\":\"{}\"}' ;; *.message_id) cut -d'\"' -f4 ;; *) cat ;; esac\n",
		"mail.txt": "hello", "orders.json": "{}",
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(w.dir, "migrations"), 0o700); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(w.ok("", "send", "orders", "--body", "x"))
	w.exec(`UPDATE qmessage SET status = 2, last_error = 'carrier API: 503'`)
	return &pasteBoard{w, id}
}

func (p *pasteBoard) paste(line string) {
	p.t.Helper()
	if elsewhere.MatchString(line) {
		p.reads(line)
		return
	}
	line = strings.ReplaceAll(pasted.Replace(line), unknownID, p.id)
	for _, e := range endless {
		if e.example.MatchString(line) {
			p.starts(line, e.says)
			return
		}
	}
	if strings.Contains(line, "waybill receive") {
		p.workspace.ok("", "send", "orders", "--key", "A-1", "--body", "{}")
		deliver(p.t, p.workspace)
	}
	var out bytes.Buffer
	cmd := p.shell(line)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := out.String()
	// Nobody answers a question here, and no consumer keeps the message.
	asks := strings.Contains(line, "waybill discard") && !strings.Contains(line, "--yes") && strings.Contains(text, "use --yes")
	keptNot := strings.Contains(line, "--side consumer") && strings.Contains(text, "no consumer keeps")
	if err != nil && !asks && !keptNot {
		p.t.Errorf("%s: got %v\n%s", line, err, text)
	}
}

// shell is a shell in the workspace's directory that runs a line.
func (p *pasteBoard) shell(line string) *exec.Cmd {
	cmd := p.command()
	shell := exec.Command("/bin/sh", "-c", line)
	shell.Dir, shell.Env = cmd.Dir, append(cmd.Env, "PATH="+p.dir+":"+os.Getenv("PATH"))
	return shell
}

// starts runs a line that ends when it is told to.
func (p *pasteBoard) starts(line, says string) {
	p.t.Helper()
	var out, log capture
	cmd := p.shell("exec " + line)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState tells
	}()
	hasEnded := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	patience.Until(p.t, "the command to be at work", func() bool {
		return hasEnded() || (says != "" && strings.Contains(log.String(), says)) || (says == "" && out.String() != "")
	})
	if hasEnded() {
		p.t.Fatalf("%s: ended by itself:\n%s", line, log.String())
	}
	_ = cmd.Process.Signal(os.Interrupt)
	<-ended
	counts := strings.Contains(line, "--count") // and says that it was interrupted
	if status := cmd.ProcessState.ExitCode(); status != 0 && !counts {
		p.t.Errorf("%s: got exit status %d\n%s", line, status, log.String())
	}
}

// reads parses the flags of a line.
func (p *pasteBoard) reads(line string) {
	p.t.Helper()
	for _, end := range []string{" | ", " && ", " #"} {
		line, _, _ = strings.Cut(line, end)
	}
	root, _ := newRoot()
	cmd, rest, err := root.Find(strings.Fields(line)[1:])
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil || cmd.ValidateArgs(cmd.Flags().Args()) != nil {
		p.t.Errorf("%s: got %v, want its flags read", line, err)
	}
}

// jsonExample is a line of a help's text that is JSON for standard input.
var jsonExample = regexp.MustCompile(`(?m)^  (\{"destination".*\})$`)

func TestTheLinesOfSendsHelpCanBeSent(t *testing.T) {
	t.Parallel()
	lines := jsonExample.FindAllStringSubmatch(sendHelp, -1)
	if len(lines) == 0 {
		t.Fatal("got no line of JSON in the help of send, want one")
	}
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	for _, line := range lines {
		w.ok(line[1]+"\n", "send", "orders")
	}
}
