//go:build !waybill_lean || waybill_demo

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/demo"
)

const demoHelp = `Run an order service and a shipping service, each with an SQLite file of its own,
over the embedded broker, while messages are lost, repeated and reordered, the relay,
the broker and the shipping service are killed (kill -9) and started again, and the
broker loses its disk. At the end the two databases are compared.

It needs no server and no set-up, takes less than a minute, listens on 127.0.0.1 alone,
and leaves nothing behind. The same seed gives the same faults, as far as timing allows.

Exit status 0: every committed message took effect once, no older state overwrote a
newer one, nothing that was rolled back took effect, and the outbox is empty.
Exit status 1: otherwise, with what is wrong.`

const demoExample = `  waybill demo
  waybill demo --seed 42 --messages 10000
  waybill demo --dir /tmp/demo && sqlite3 /tmp/demo/shipping.db 'SELECT * FROM shipments LIMIT 5'
  waybill demo --json | jq .ok`

// demoRole is the hidden command of the demo's other processes.
const demoRole = "demo-role"

type demoFlags struct {
	demo demo.Options
	json bool
}

func newDemoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Watch messages arrive whatever happens to them, and check it",
		Long:    demoHelp,
		Example: demoExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.demo.Messages < 1 {
				return usagef("--messages is %d; the least is 1", f.demo.Messages)
			}
			out, terminal := output(cmd, f.json)
			if terminal != nil {
				f.demo.Width = func() int { return terminalWidth(terminal) }
				f.demo.Colour = os.Getenv("NO_COLOR") == ""
			}
			report, err := demo.Run(cmd.Context(), selfCommand("demo", demoRole), out, &f.demo)
			if err != nil {
				return err
			}
			return verdict(cmd, f.json, report, report.OK)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Int64Var(&f.demo.Messages, "messages", demo.DefaultMessages, "messages that the order service commits")
	flags.Uint64Var(&f.demo.Seed, "seed", 0, "seed of the faults (default a random one)")
	flags.StringVar(&f.demo.Dir, "dir", "", "empty directory to keep the databases, the broker's files and the logs in")
	flags.BoolVar(&f.json, "json", false, "end with one JSON object on standard output; the rest goes to standard error")
	cmd.AddCommand(newRoleCommand(demoRole, demo.RunRole))
	return cmd
}
