package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor/supervisortest"
	"github.com/waybill-go/waybill/internal/test/patience"
)

func TestMain(m *testing.M) { os.Exit(supervisortest.Main(m, RunRole)) }

func TestEverythingTakesEffectOnceWhateverHappens(t *testing.T) {
	var out bytes.Buffer
	dir := filepath.Join(t.TempDir(), "kept")
	// Each kind of phase once: all of them take longer than a test should.
	short := []phase{allPhases[0], allPhases[1], {0.4, "Kills", "", func(ctx context.Context, s *scenario, from, to float64) error {
		return s.killAtRandom(ctx, from, to, s.relay, s.shipping)
	}}, allPhases[4], allPhases[6]}
	report, err := Run(t.Context(), supervisortest.Exec, &out, &Options{Messages: 400, Seed: 1, Dir: dir, Span: time.Second, phases: short})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK || report.Sent != 400 || report.Applied+report.Superseded != 400 {
		t.Errorf("got %+v, want 400 messages and a good verdict", report)
	}
	if report.Resent == 0 || report.Duplicates == 0 || report.Superseded == 0 || report.RolledBack == 0 || report.DiskMessages == 0 || report.DiskReceipts == 0 || report.LostMessages == 0 {
		t.Errorf("got %+v, want something of each", report)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("got control sequences, want none where there is no terminal")
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if columns := utf8.RuneCountInString(line); columns > 79 && !strings.HasPrefix(line, "Files: ") {
			t.Errorf("got a line of %d columns, want 79 at most: %s", columns, line)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.db")); err != nil {
		t.Errorf("got %v, want the files kept", err)
	}
	if text, err := json.Marshal(report); err != nil || bytes.ContainsRune(text, '\n') {
		t.Errorf("got %s, %v; want a JSON object on one line", text, err)
	}
}

func TestWhatStillWaitsIsSaidWhenNothingMovesAnyMore(t *testing.T) {
	var out bytes.Buffer
	lossy := phase{0, "A network that loses everything", "", func(_ context.Context, s *scenario, _, _ float64) error {
		s.relay.setFaults(faulty.Network{Messages: faulty.Faults{Lose: 1}})
		return nil
	}}
	report, err := Run(t.Context(), supervisortest.Exec, &out, &Options{
		Messages: 20, Seed: 1, Span: 100 * time.Millisecond, Patience: 3 * time.Second,
		phases: []phase{lossy, allPhases[len(allPhases)-1]},
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.OK || report.Leftover == 0 || report.Lost == 0 || !strings.Contains(report.GaveUp, "to orders") {
		t.Errorf("got %+v, want rows that are left over, and what they wait for", report)
	}
	for _, want := range []string{"Still waiting: ", "NOT OK", "left over: message "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%swant %q in it", out.String(), want)
		}
	}
}

func TestAnInterruptedDemoLeavesNothingBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	var processes []*exec.Cmd
	program := func() (*exec.Cmd, error) {
		cmd, err := supervisortest.Exec()
		processes = append(processes, cmd)
		if len(processes) == 3 {
			time.AfterFunc(500*time.Millisecond, cancel)
		}
		return cmd, err
	}
	report, err := Run(ctx, program, io.Discard, &Options{Seed: 1})
	if !errors.Is(err, ErrInterrupted) || report != nil {
		t.Errorf("got %v, %v; want ErrInterrupted", report, err)
	}
	for _, cmd := range processes {
		if cmd.ProcessState == nil {
			t.Errorf("got the process %d still there, want it gone", cmd.Process.Pid)
		}
	}
	if entries, _ := os.ReadDir(tmp); len(entries) > 0 {
		t.Errorf("got %v left in the temporary directory, want nothing", entries)
	}
}

func TestAProcessThatEndsByItselfEndsTheDemo(t *testing.T) {
	n := 0
	program := func() (*exec.Cmd, error) {
		cmd, err := supervisortest.Exec()
		if n++; n == 2 { // the relay
			cmd.Env = os.Environ()
			cmd.Args = append(cmd.Args, "-no-such-flag")
		}
		return cmd, err
	}
	_, err := Run(t.Context(), program, io.Discard, &Options{Seed: 1})
	if err == nil || !strings.Contains(err.Error(), "relay has ended by itself") || !strings.Contains(err.Error(), "-test.v") {
		t.Errorf("got %v, want an error that names the relay and shows the end of its log", err)
	}
}

func TestADirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), supervisortest.Exec, io.Discard, &Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("got %v, want an error that says that the directory is not empty", err)
	}
}

func TestAProcessEndsWhenTheDemoDoes(t *testing.T) {
	cmd, err := supervisortest.Exec()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	url, err := supervisor.BrokerAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := command{Role: brokerRole, Dir: t.TempDir(), Broker: url}
	if err := json.NewEncoder(in).Encode(first); err != nil {
		t.Fatal(err)
	}
	in.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("got no error, want one that says that the demo has ended")
		}
	case <-time.After(patience.Limit):
		t.Error("got a process that goes on, want it to end with its demo")
	}
}
