// Command waybill runs and operates registered delivery: it makes the tables, runs
// the relay, sends and receives from scripts, and shows and repairs what is stuck.
//
// The files: main.go (the process), root.go (the tree of commands, the flags of all),
// exit.go (exit statuses), flags.go (what commands check and complete), open.go (databases
// and brokers), output.go (what is printed), http.go and console.go (what --http serves, and
// to whom), log.go, version.go, and one file for each command, which is called like it.
//
// What deserves tests of its own is in the packages below internal/: jsonl (lines that are
// read and printed), view (messages for a person), status, handler (what "receive" does
// with a message), terminal; and for the commands that break things on purpose demo,
// torture, verdict (what their reports share), supervisor (their processes) and faulty (a
// broker with faults).
//
// The tests run the command in a process of its own (main_test.go), but for those of the
// command lines in the pages (pages_test.go). A file is called like
// the command that it is about; the others are about several of them.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// sameSignal is the time within which a second signal counts as the first one come twice: so
// timeout(1) sends it, to the process and to its group.
const sameSignal = time.Second

// run executes one command line and returns the exit status. The first SIGINT or
// SIGTERM asks the command to finish what is under way; a second one, sameSignal later or
// more, ends the process at once.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })

	root, running := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return exitStatus(stderr, cmd, whole(err, args), *running, ctx.Err() != nil)
}
