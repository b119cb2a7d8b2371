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
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/sqlite"
)

const initHelp = `Make Waybill's tables, or bring them to this program's version.

The producer's tables (qmessage, qmessage_key,
qrelay, qoutbox, qconfirmed, qpause) belong into the database of
the service that sends, the consumer's (n1_record, n2_record, n_horizon, n_rejected, n_pause)
into that of the service that receives, since each commits together with the service's own
changes. It is safe to run this again, and from several processes at once, and while
programs use the tables: where an open transaction keeps a table, this gives way after a
moment and tries again.

An upgrade comes last: first put programs of the new version in the place of the old
ones, one by one, and run this when no old one is left. New programs work with old tables
until then; old programs may not work with new ones. "waybill status" shows the tables'
version, and docs/use/upgrades.md the order in detail.

--print shows the SQL instead, for people whose migrations are run by a tool of their own,
and connects to nothing. --dialect says which database it is for, where there is no address.
--format has it written down for that tool: plain for the database's own client, goose,
golang-migrate or atlas; other tools that take files of SQL, and find their statements' ends
in triggers and functions by themselves, may take golang-migrate's. --from N upgrades tables
of version N, while programs use them, and fails after a moment where an open transaction
keeps them: run it again. --down takes the tables away; it fails where the outbox still
has messages. A file for goose has both ways in it.`

const initExample = `  waybill init --db postgres://app:secret@localhost/app
  waybill init --side consumer --db sqlite:shipping.db
  waybill init --print --dialect mysql --side producer > waybill.sql
  waybill init --print --dialect postgres --format goose > migrations/00007_waybill.sql
  waybill init --print --dialect postgres --format golang-migrate > migrations/7_waybill.up.sql
  waybill init --print --dialect postgres --format golang-migrate --down > migrations/7_waybill.down.sql
  waybill init --prefix waybill.                 # in a schema of its own`

func newInitCommand(o *options) *cobra.Command {
	var side, dialect, format string
	var printSQL, down bool
	var from int
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
			if printSQL {
				return o.printScript(cmd, dialect, store.ScriptOptions{Sides: sides, Format: store.ScriptFormat(format), From: from, Down: down})
			}
			for _, name := range []string{"dialect", "format", "from", "down"} {
				if cmd.Flags().Changed(name) {
					return usagef("--%s is of use with --print alone, which shows the SQL and changes nothing", name)
				}
			}
			d, err := o.openDatabase()
			if err != nil {
				return err
			}
			defer d.Close()
			return o.migrate(cmd, d, sides)
		},
	}
	cmd.Flags().StringVar(&side, "side", "both", "`side` of the tables: producer, consumer or both")
	cmd.Flags().BoolVar(&printSQL, "print", false, "print the SQL and change nothing")
	cmd.Flags().StringVar(&dialect, "dialect", "", "`database` that the SQL is for: postgres, mysql (and MariaDB) or sqlite; default that of --db")
	cmd.Flags().StringVar(&format, "format", string(store.Plain), "`format` of the SQL: plain, goose, golang-migrate or atlas")
	cmd.Flags().IntVar(&from, "from", 0, "`version` of the tables that are to be upgraded; 0 where there are none")
	cmd.Flags().BoolVar(&down, "down", false, "print the SQL that takes the tables away")
	complete(cmd, "side", "producer", "consumer", "both")
	complete(cmd, "dialect", "postgres", "mysql", "sqlite")
	complete(cmd, "format", "plain", "goose", "golang-migrate", "atlas")
	return cmd
}

// dialects are the names that --dialect knows.
var dialects = map[string]store.Dialect{
	"postgres": postgres.Dialect(),
	"mysql":    mysql.Dialect(),
	"mariadb":  mysql.Dialect(),
	"sqlite":   sqlite.Dialect(),
}

func (o *options) printScript(cmd *cobra.Command, name string, so store.ScriptOptions) error {
	dialect, known := dialects[name]
	switch {
	case known:
	case name != "":
		return usagef("--dialect is %.40q; use postgres, mysql or sqlite", name)
	case o.db == "":
		return usagef("which database is the SQL for? give --dialect: postgres, mysql or sqlite")
	default:
		d, err := o.openDatabase()
		if err != nil {
			return err
		}
		defer d.Close()
		dialect = d.dialect
	}
	script, err := store.Script(dialect, o.prefix, so)
	if err != nil {
		return usage(err)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), script)
	return err
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
