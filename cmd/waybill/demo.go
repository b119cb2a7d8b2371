package main

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waybill-go/waybill/internal/demo"
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

// demoPart is the hidden command of the demo's other processes.
const demoPart = "demo-part"

func newDemoCommand() *cobra.Command {
	var o demo.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Watch messages arrive whatever happens to them, and check it",
		Long:    demoHelp,
		Example: demoExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Messages < 1 {
				return usagef("--messages is %d; the least is 1", o.Messages)
			}
			o.Command = selfCommand("demo", demoPart)
			o.Out = cmd.OutOrStdout()
			if asJSON {
				o.Out = cmd.ErrOrStderr()
			}
			if file, ok := o.Out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
				o.Width = func() int { return terminalWidth(file) }
				o.Colour = os.Getenv("NO_COLOR") == ""
			}
			report, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(report); err != nil {
					return err
				}
			}
			if !report.OK {
				return errors.New("the demo's verdict is bad")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Int64Var(&o.Messages, "messages", demo.DefaultMessages, "messages that the order service commits")
	flags.Uint64Var(&o.Seed, "seed", 0, "seed of the faults (default a random one)")
	flags.StringVar(&o.Dir, "dir", "", "empty directory to keep the databases, the broker's files and the logs in")
	flags.BoolVar(&asJSON, "json", false, "end with one JSON object on standard output; the rest goes to standard error")
	cmd.AddCommand(&cobra.Command{
		Use:    demoPart,
		Hidden: true,
		Args:   takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Part(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	})
	return cmd
}

// terminalWidth is the terminal's width in columns, or the usual one where it does
// not say.
func terminalWidth(file *os.File) int {
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}
