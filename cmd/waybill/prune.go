package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/store"
)

const pruneHelp = `Forget the consumers' records that are older than the retention and that their
producer can no longer send. Running inboxes do this by themselves; this is for
databases whose consumers are gone or seldom run.

Whatever the retention, no record goes that its producer may still ask for, as far as
it has told. A message that was forgotten and comes all the same is rejected and not
handled twice. The records of level latest, one for each key, stay.`

const pruneExample = `  waybill prune --db postgres://app:secret@localhost/app
  waybill prune --retention 720h --consumer shipping --json`

type pruneFlags struct {
	retention time.Duration
	consumer  string
	json      bool
}

func newPruneCommand(o *options) *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:     "prune",
		Short:   "Forget consumers' old records",
		Long:    pruneHelp,
		Example: pruneExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPositive(cmd, "retention"); err != nil {
				return err
			}
			d, err := o.openAnswering(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			return f.prune(cmd.Context(), d, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&f.retention, "retention", 7*24*time.Hour, "least age of records that may go")
	flags.StringVar(&f.consumer, "consumer", "", "records of this `consumer` only (default: of all)")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each consumer")
	return cmd
}

// pruneBatch is how many records one transaction removes.
const pruneBatch = 1000

type prunedLine struct {
	Consumer string `json:"consumer"`
	Pruned   int64  `json:"pruned"`
}

func (f *pruneFlags) prune(ctx context.Context, d *database, stdout, stderr io.Writer) error {
	consumers, err := store.Consumers(ctx, d.DB, d.dialect, d.prefix)
	if err != nil {
		return err
	}
	if f.consumer != "" {
		consumers = []string{f.consumer}
	}
	progress := terminal.NewProgress(stderr)
	defer progress.Clear()
	for _, consumer := range consumers {
		progress.Update("pruning the records of %s", consumer)
		gone, err := f.pruneOne(ctx, d, consumer)
		if err != nil {
			return err
		}
		progress.Clear()
		if err := printLine(stdout, f.json, prunedLine{consumer, gone}, fmt.Sprintf("%s: %d records forgotten", consumer, gone)); err != nil {
			return err
		}
	}
	if len(consumers) == 0 {
		fmt.Fprintln(stderr, "No consumer has recorded anything.")
	}
	return nil
}

// pruneOne prunes one consumer's records and returns how many are gone.
func (f *pruneFlags) pruneOne(ctx context.Context, d *database, consumer string) (int64, error) {
	ledger, err := store.NewLedger(d.DB, d.dialect, d.prefix, consumer)
	if err != nil {
		return 0, err
	}
	if err := ledger.CheckSchema(ctx); err != nil {
		return 0, err
	}
	gone, err := ledger.Prune(ctx, time.Now(), f.retention, pruneBatch)
	if err != nil {
		return gone, fmt.Errorf("consumer %s: %w; %d of its records are forgotten", consumer, err, gone)
	}
	return gone, nil
}
