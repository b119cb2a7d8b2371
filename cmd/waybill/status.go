package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/status"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/internal/backoff"
)

const statusHelp = `Show the state of a database: how many messages wait and since when, how fast they
come and go, which relay leads and for how long its lease lasts, what was rejected,
which destinations are paused, and what consumers remember. What keeps messages from moving is told in words: rights
that are missing, rows that row-level security hides, a trigger that cannot run, a
database that takes no writes; and settings by which a power cut loses commits.

Why messages wait, and since when, is told where it is known: no relay leads, or the one
that does has no connection to the broker, or the broker does not take them, or no
receipts come.

At most 10,000 rows of each kind are counted, and what is more ends in +. --exact counts
all. With --watch it goes on where the database is away for a while. It works where only one side's tables are there, and says which are missing. Rates
are measured for a second before anything is shown; --over 0 leaves them out.`

const statusExample = `  waybill status --db postgres://app:secret@localhost/app
  waybill status --watch
  waybill status --json --over 0 | jq .producer.pending`

type statusFlags struct {
	json, watch, exact bool
	over, every        time.Duration
}

func newStatusCommand(o *options) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show counts, ages, rates and the leading relay",
		Long:    statusHelp,
		Example: statusExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.over < 0 {
				return usagef("--over is %v, below 0", f.over)
			}
			if f.every < 100*time.Millisecond {
				return usagef("--every is %v; the least is 100ms", f.every)
			}
			d, err := o.openAnswering(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			reader, err := status.NewReader(d.DB, d.dialect, d.prefix, d.address)
			if err != nil {
				return err
			}
			reader.Exact = f.exact
			return f.show(cmd.Context(), reader, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.json, "json", false, "print a JSON object on one line")
	flags.BoolVar(&f.exact, "exact", false, "count all rows, however long that takes, and not 10,000 of each kind at most")
	flags.BoolVar(&f.watch, "watch", false, "show again and again until interrupted")
	flags.DurationVar(&f.every, "every", 2*time.Second, "time between two reports of --watch")
	flags.DurationVar(&f.over, "over", time.Second, "time over which rates are measured before the first report")
	return cmd
}

func (f *statusFlags) show(ctx context.Context, reader *status.Reader, w, stderr io.Writer) error {
	var meter status.Meter
	report, err := reader.Read(ctx)
	if err != nil {
		return err
	}
	meter.Observe(report)
	if f.over > 0 && report.Producer.Problem == "" {
		if backoff.Sleep(ctx, f.over); ctx.Err() != nil {
			return ctx.Err()
		}
		if report, err = reader.Read(ctx); err != nil {
			return err
		}
		meter.Observe(report)
	}
	if !f.watch {
		return f.print(w, report)
	}
	for {
		if err := f.printAgain(w, report); err != nil {
			return err
		}
		if backoff.Sleep(ctx, f.every); ctx.Err() != nil {
			return nil
		}
		for {
			next, err := reader.Read(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				report = next
				break
			}
			// Whoever watches wants to see how it ends.
			fmt.Fprintf(stderr, "waybill: %s; trying again\n", message(err))
			if backoff.Sleep(ctx, f.every); ctx.Err() != nil {
				return nil
			}
		}
		meter.Observe(report)
	}
}

// printAgain prints one report of many.
func (f *statusFlags) printAgain(w io.Writer, report *status.Report) error {
	if f.json {
		return f.print(w, report)
	}
	if terminal.Is(w) {
		fmt.Fprint(w, "\x1b[H\x1b[2J") // begin at the top of an empty screen
		return f.print(w, report)
	}
	if err := f.print(w, report); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (f *statusFlags) print(w io.Writer, report *status.Report) error {
	if f.json {
		return printJSON(w, report)
	}
	return report.Write(w)
}
