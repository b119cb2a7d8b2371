// Command mutants shows that 'waybill torture' finds bugs: it builds Waybill with each
// of the bugs of internal/fault/mutant and tortures it until it finds a violation that the
// bug should lead to. It prints what it found and after how long, and ends with status 1
// where a bug survives, or where Waybill without a bug does not pass.
//
//	go run ./scripts/mutants [NAME...]
//
// plants the bugs of those names, all by default; "none" is Waybill without a bug.
// Some bugs need a database with several writers: WAYBILL_TEST_POSTGRES names it.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// mutant is one bug, and how to torture it.
type mutant struct {
	name       string // of internal/fault/mutant; "" for none
	faults     string
	violations []string // of which one has to be found
	postgres   bool     // where SQLite's one writer would hide it
	topic      bool     // where it shows only with a topic, which odd seeds have
	// test is a package and a test in it that has to fail, for a bug that breaks no
	// promise that torture could see.
	test []string
}

var mutants = []mutant{
	{faults: "kill,pause,messages,receipts,handlers,leaders,clock", postgres: true},
	{name: "ack_before_commit", faults: "kill,handlers", violations: []string{"lost"}},
	{name: "ack_unkept", faults: "foreign,kill", violations: []string{"lost"}},
	{name: "receipt_before_commit", faults: "kill,handlers", violations: []string{"lost"}},
	{name: "guard_outside_transaction", faults: "handlers", violations: []string{"lost"}},
	{name: "commit_unchecked", faults: "handlers", violations: []string{"lost", "doubled"}},
	{name: "blame_before_handler", test: []string{"./test/journey", "TestTroubleBeforeAHandlerRunsIsNobodysFailure/sqlite"}},
	{name: "receipt_by_id", test: []string{"./test/journey", "TestAReceiptThatKnowsTheIDAndNotTheIdentityConfirmsNothing"}},
	{name: "forget_by_name", test: []string{"./test/journey", "TestAStrangersFloorHasNothingOfAnOutboxForgotten/sqlite"}},
	{name: "select_then_update", faults: "messages,receipts", violations: []string{"stale", "doubled"}, postgres: true},
	{name: "no_record", faults: "messages", violations: []string{"doubled"}},
	{name: "delete_on_publish", faults: "messages", violations: []string{"lost"}},
	{name: "delete_on_retry", faults: "handlers", violations: []string{"lost"}},
	{name: "first_consumer", faults: "handlers,pause,wipe", violations: []string{"lost"}, topic: true},
	{name: "window_held", faults: "absent", violations: []string{"held_up"}, topic: true},
	{name: "cursor_without_sweep", faults: "messages", violations: []string{"leftover"}, postgres: true},
	{name: "no_resend", faults: "messages", violations: []string{"leftover"}},
	{name: "process_clock", faults: "clock", violations: []string{"lost", "sequence"}},
	{name: "guard_by_sequence", faults: "restore", violations: []string{"lost"}},
	{name: "forget_by_clock", faults: "messages,receipts,pause", violations: []string{"doubled"}},
	{name: "resend_as_new", faults: "handlers,messages,pause", violations: []string{"doubled"}},
}

const (
	tries    = 8 // a bug is a matter of timing: so often it may hide
	duration = "15s"
	patience = "8s"
	atOnce   = 2 // they wait for each other's processes most of the time
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	survivors, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	if survivors > 0 {
		fmt.Fprintf(os.Stderr, "mutants: %d bugs were not caught\n", survivors)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, out io.Writer) (survivors int, err error) {
	postgres := os.Getenv("WAYBILL_TEST_POSTGRES")
	if postgres == "" {
		return 0, errors.New(`WAYBILL_TEST_POSTGRES is not set: scripts/services start postgres && eval "$(scripts/services env)"`)
	}
	dir, err := os.MkdirTemp("", "waybill-mutants-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, name := range names {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.title() == name }) {
			return 0, fmt.Errorf("there is no mutant %q", name)
		}
	}
	fmt.Fprintf(out, "%-26s %-10s %-18s %s\n", "bug", "verdict", "caught by", "after")
	var mu sync.Mutex // guards out and survivors
	runs, ctx := errgroup.WithContext(ctx)
	runs.SetLimit(atOnce)
	for _, m := range mutants {
		if len(names) > 0 && !slices.Contains(names, m.title()) {
			continue
		}
		db := ""
		if m.postgres {
			db = postgres
		}
		runs.Go(func() error {
			catch := m.torture
			if m.test != nil {
				catch = m.failTest
			}
			began := time.Now()
			found, kept, err := catch(ctx, filepath.Join(dir, "waybill-"+m.name), db)
			if err != nil {
				return fmt.Errorf("%s: %w", m.title(), err)
			}
			took := time.Since(began)
			verdict, ok := m.verdict(found, kept)
			mu.Lock()
			defer mu.Unlock()
			if !ok {
				survivors++
			}
			fmt.Fprintf(out, "%-26s %-10s %-18s %.0f s\n", m.title(), verdict, strings.Join(found, ","), took.Seconds())
			return nil
		})
	}
	err = runs.Wait()
	return survivors, err
}

// verdict says in a word what became of a bug, and whether that is as it should be. kept says
// that a run without a bug kept all promises by its own verdict.
func (m *mutant) verdict(found []string, kept bool) (word string, ok bool) {
	switch {
	case m.name == "" && kept:
		return "passes", true
	case m.name == "":
		return "FAILS", false
	case m.isCaught(found):
		return "caught", true
	}
	return "SURVIVES", false
}

// isCaught says whether a violation that the bug should lead to is among those that were
// found.
func (m *mutant) isCaught(found []string) bool {
	if m.test != nil {
		return len(found) > 0
	}
	return slices.ContainsFunc(found, func(v string) bool { return slices.Contains(m.violations, v) })
}

func (m *mutant) title() string {
	if m.name == "" {
		return "none"
	}
	return m.name
}

func build(ctx context.Context, program, name string) error {
	args := []string{"build", "-o", program}
	if name != "" {
		args = append(args, "-tags", "mutant_"+name)
	}
	output, err := exec.CommandContext(ctx, "go", append(args, "./cmd/waybill")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build with the bug %q: %w\n%s", name, err, output)
	}
	return nil
}

// torture builds a program with the bug and runs it until a violation is found that the bug
// should lead to; see hunt.
func (m *mutant) torture(ctx context.Context, program, db string) (found []string, kept bool, err error) {
	if err := build(ctx, program, m.name); err != nil {
		return nil, false, err
	}
	defer func() { _ = os.Remove(program) }()
	return m.hunt(ctx, program, db)
}

// hunt runs a program until a violation is found that the bug should lead to, and once without
// a bug. It returns all that were found, and whether the last run kept all promises.
func (m *mutant) hunt(ctx context.Context, program, db string) (found []string, kept bool, err error) {
	times := tries
	if m.name == "" {
		times = 1
	}
	for try := range times {
		seed := 1 + try
		if m.topic {
			seed = 1 + 2*try
		}
		report, err := torture(ctx, program, m.faults, seed, db)
		if err != nil {
			return nil, false, err
		}
		kept = report.OK
		for _, violation := range slices.Sorted(maps.Keys(report.Broken)) {
			if !slices.Contains(found, violation) {
				found = append(found, violation)
			}
		}
		if m.isCaught(found) {
			break
		}
	}
	return found, kept, nil
}

// failTest runs the test that has to fail, with the bug and, since a test that always fails
// shows nothing, without.
func (m *mutant) failTest(ctx context.Context, _, _ string) (found []string, kept bool, err error) {
	run := func(tags string) (failed bool, err error) {
		cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-tags", tags, "-run", "^"+strings.ReplaceAll(m.test[1], "/", "$/^")+"$", m.test[0])
		cmd.Env = append(os.Environ(), "WAYBILL_TEST_PATIENCE=20s") // the test is to fail, at last
		output, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case bytes.Contains(output, []byte("no tests to run")):
			return false, fmt.Errorf("there is no test %s in %s", m.test[1], m.test[0])
		case err == nil, errors.As(err, &exit) && bytes.Contains(output, []byte("--- FAIL: ")):
			return err != nil, nil
		}
		return false, fmt.Errorf("%w\n%s", err, output)
	}
	failed, err := run("")
	if err == nil && failed {
		err = fmt.Errorf("%s fails without the bug, too", m.test[1])
	}
	if err != nil {
		return nil, false, err
	}
	if failed, err = run("mutant_" + m.name); err == nil && failed {
		found = []string{"a test"}
	}
	return found, !failed, err
}

// report is what is read of a run's.
type report struct {
	OK     bool             `json:"ok"`
	Broken map[string]int64 `json:"broken"` // the checks that found something
	Dir    string           `json:"dir"`
}

// torture runs a program once and returns its report.
func torture(ctx context.Context, program, faults string, seed int, db string) (*report, error) {
	cmd := exec.CommandContext(ctx, program, "torture", "--json", "--duration", duration, "--patience", patience,
		"--faults", faults, "--seed", fmt.Sprint(seed))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "WAYBILL_DB=") || strings.HasPrefix(v, "WAYBILL_BROKER=")
	}), "WAYBILL_DB="+db)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up
	cmd.WaitDelay = time.Minute
	var log strings.Builder
	cmd.Stderr = &log
	output, runErr := cmd.Output()
	var r report
	if err := json.Unmarshal(output, &r); err != nil {
		return nil, fmt.Errorf("torture ended with %w and no report:\n%s", errors.Join(runErr, err), log.String())
	}
	if r.Dir != "" {
		_ = os.RemoveAll(r.Dir)
	}
	if r.OK == (runErr != nil) || r.OK != (len(r.Broken) == 0) {
		return nil, fmt.Errorf("the verdict is %v, the run ended with %w, and these checks found something: %v", r.OK, cmp.Or(runErr, errors.New("status 0")), r.Broken)
	}
	return &r, nil
}
