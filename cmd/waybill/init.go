package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

const initHelp = `Make Waybill's tables, or bring them to this program's version.

The producer's tables (qmessage, qmessage_key,
qrelay, qoutbox, qconfirmed) belong into the database of
the service that sends, the consumer's (n1_record, n2_record, n_horizon) into that
of the service that receives, since each commits together with the service's own
changes. It is safe to run this again, and from several processes at once, and while
programs use the tables: where an open transaction keeps a table, this gives way after a
moment and tries again.

An upgrade comes last: first put programs of the new version in the place of the old
ones, one by one, and run this when no old one is left. New programs work with old tables
until then; old programs may not work with new ones. "waybill status" shows the tables'
version, and docs/databases.md the order in detail.

--print shows the SQL instead, for people who run their own migrations. It needs the
address only to know the kind of database and connects to nothing.`

const initExample = `  waybill init --db postgres://app:secret@localhost/app
  waybill init --side consumer --db sqlite:shipping.db
  waybill init --side producer --print --db mysql://localhost/app > waybill.sql
  waybill init --prefix waybill.                 # in a schema of its own`

func newInitCommand(o *options) *cobra.Command {
	var side string
	var printSQL bool
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make or upgrade the tables",
		Long:    initHelp,
		Example: initExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sides, err := sidesOf(side)
			if err != nil {
				return err
			}
			d, err := o.openDatabase()
			if err != nil {
				return err
			}
			defer d.Close()
			if printSQL {
				return printScripts(cmd, d, sides)
			}
			return o.migrate(cmd, d, sides)
		},
	}
	cmd.Flags().StringVar(&side, "side", "both", "`side` of the tables: producer, consumer or both")
	cmd.Flags().BoolVar(&printSQL, "print", false, "print the SQL and change nothing")
	complete(cmd, "side", "producer", "consumer", "both")
	return cmd
}

func (o *options) migrate(cmd *cobra.Command, d *database, sides []store.Side) error {
	if path, isFile := sqliteFile(o.db); isFile {
		if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the directory %s does not exist", filepath.Dir(path))
		}
	}
	if err := d.ping(cmd.Context()); err != nil {
		return err
	}
	for _, side := range sides {
		before, err := d.version(cmd.Context(), side)
		if err != nil {
			return err
		}
		if err := store.Migrate(cmd.Context(), d.DB, d.dialect, d.prefix, side); err != nil {
			return err
		}
		if err := tellReady(cmd, d, side, before); err != nil {
			return err
		}
	}
	return nil
}

// version is that of a side's tables; 0 where there are none.
func (d *database) version(ctx context.Context, side store.Side) (int, error) {
	names, err := store.NewNames(d.prefix)
	if err != nil {
		return 0, err
	}
	v, err := store.ReadVersion(ctx, d.DB, d.dialect, names, side)
	if errors.Is(err, waybill.ErrSchema) {
		return 0, nil
	}
	return v.Have, err
}

func tellReady(cmd *cobra.Command, d *database, side store.Side, before int) error {
	after, err := d.version(cmd.Context(), side)
	if err != nil {
		return err
	}
	upgraded := ""
	if before > 0 && before < after {
		upgraded = fmt.Sprintf(", upgraded from version %d to %d", before, after)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "The %s's tables are ready in %s%s.\n", side, d.address, upgraded)
	return nil
}

func sidesOf(text string) ([]store.Side, error) {
	switch text {
	case "producer":
		return []store.Side{store.Producer}, nil
	case "consumer":
		return []store.Side{store.Consumer}, nil
	case "both":
		return []store.Side{store.Producer, store.Consumer}, nil
	}
	return nil, usagef("--side is %.40q; use producer, consumer or both", text)
}

func printScripts(cmd *cobra.Command, d *database, sides []store.Side) error {
	for _, side := range sides {
		script, err := store.Script(d.dialect, d.prefix, side)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), script); err != nil {
			return err
		}
	}
	return nil
}
