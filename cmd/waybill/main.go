// Command waybill runs and operates registered delivery: it makes the tables, runs
// the relay, sends and receives from scripts, and shows and mends what is stuck.
//
// The files: root.go (the tree of commands, flags of all), exit.go (exit statuses),
// open.go (databases and brokers), log.go, version.go, and one file for each
// command. What deserves tests of its own is in the packages below internal/.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit status. The first SIGINT or
// SIGTERM asks the command to finish what is under way; a second one ends the
// process at once.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root, running := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return exitStatus(stderr, cmd, err, *running, ctx.Err() != nil)
}
