package store

import (
	"fmt"
	"slices"
	"strings"
)

// ScriptFormat is how a script is written down for what runs it. In each of them a
// statement may have semicolons in it, as triggers and functions do.
type ScriptFormat string

// The formats of a Script.
const (
	// Plain is for the database's own client: psql, mysql, mariadb, sqlite3.
	Plain ScriptFormat = "plain"
	// Goose is a file of github.com/pressly/goose, with both ways in it.
	Goose ScriptFormat = "goose"
	// GolangMigrate is a file of github.com/golang-migrate/migrate: one for each way.
	GolangMigrate ScriptFormat = "golang-migrate"
	// Atlas is a file of Atlas' versioned migrations.
	Atlas ScriptFormat = "atlas"
)

// ScriptFormats are all formats.
var ScriptFormats = []ScriptFormat{Plain, Goose, GolangMigrate, Atlas}

// ScriptOptions say what is in a Script. The zero value makes both sides' tables from
// nothing, in the Plain format.
type ScriptOptions struct {
	// Sides are whose tables it is about; default both.
	Sides []Side
	// Format is for what is to run it; default Plain.
	Format ScriptFormat
	// From is the version of the tables that are there, which the script upgrades: from 0,
	// where there are none, to one less than this program's.
	From int
	// Down takes the tables away instead. What is in them is lost, so the script fails and
	// changes nothing where the outbox still has messages. Version 2 is not taken back to
	// version 1: Down goes with From 0 alone. A file of Goose has both ways in it and needs
	// no Down.
	Down bool
}

// Script returns the SQL that makes, upgrades or takes away tables, for people whose
// migrations are run by a tool of their own. It is made of the same statements that
// Migrate runs, and stores the version at its end. Its statements need one connection,
// as all tools give them. It fails where prefix or options are wrong.
func Script(dialect Dialect, prefix string, o ScriptOptions) (string, error) {
	names, err := NewNames(prefix)
	if err != nil {
		return "", err
	}
	if len(o.Sides) == 0 {
		o.Sides = []Side{Producer, Consumer}
	}
	if o.Format == "" {
		o.Format = Plain
	}
	if err := o.check(dialect); err != nil {
		return "", err
	}
	w := scriptWriter{format: o.Format, client: dialect.Capabilities()}
	if o.Format == Plain { // the tools begin by themselves
		w.transaction = dialect.BeginMigration()
	}
	w.begin()
	switch {
	case o.Down:
		w.down(dialect, names, o.Sides)
	case o.Format != Goose:
		w.up(dialect, names, o)
	default:
		w.WriteString("-- +goose Up\n\n")
		w.up(dialect, names, o)
		w.WriteString("-- +goose Down\n\n")
		if o.From > 0 {
			w.WriteString("-- Tables are not taken back to an older version: those of this one stay.\n")
			break
		}
		w.down(dialect, names, o.Sides)
	}
	if w.transaction != "" {
		w.statements("COMMIT")
	}
	return w.String(), nil
}

func (o *ScriptOptions) check(dialect Dialect) error {
	if !slices.Contains(ScriptFormats, o.Format) {
		return fmt.Errorf("waybill: no format of scripts is named %.40q; there are %q", o.Format, ScriptFormats)
	}
	for _, side := range o.Sides {
		if side != Producer && side != Consumer {
			return fmt.Errorf("waybill: no side is named %.40q: use %q or %q", side, Producer, Consumer)
		}
		if newest := newestVersion(dialect, side); o.From < 0 || o.From >= newest {
			return fmt.Errorf("waybill: there is no upgrade from version %d of the %s's tables: use a version from 0 (no tables) to %d", o.From, side, newest-1)
		}
	}
	switch {
	case o.Down && o.From > 0:
		return fmt.Errorf("waybill: tables are not taken back to version %d; a script that goes down takes them away altogether", o.From)
	case o.Down && o.Format == Goose:
		return fmt.Errorf("waybill: a file for %s has both ways in it, up and down", Goose)
	}
	return nil
}

// scriptWriter writes statements in a format.
type scriptWriter struct {
	strings.Builder
	format ScriptFormat
	client Capabilities // of the database's own client
	// transaction begins one around the whole; "" for none.
	transaction string
}

// atlasDelimiter is what ends a statement in a file for Atlas.
const atlasDelimiter = "-- end"

func (w *scriptWriter) begin() {
	switch w.format {
	case Plain:
		if w.client.OrStop != "" {
			fmt.Fprintf(w, "%s\n\n", w.client.OrStop)
		}
		if w.transaction != "" {
			w.statements(w.transaction)
		}
	case Atlas:
		fmt.Fprintf(w, "-- atlas:delimiter %s\n\n", atlasDelimiter)
	case Goose, GolangMigrate:
	}
}

func (w *scriptWriter) statements(all ...string) {
	for _, sql := range all {
		sql = strings.TrimSpace(sql)
		switch {
		case w.format == Goose:
			fmt.Fprintf(w, "-- +goose StatementBegin\n%s;\n-- +goose StatementEnd\n\n", sql)
		case w.format == Atlas:
			fmt.Fprintf(w, "%s\n%s\n\n", sql, atlasDelimiter)
		case w.format == Plain && w.client.Delimiter != "" && strings.Contains(sql, ";"):
			fmt.Fprintf(w, "DELIMITER %[1]s\n%[2]s%[1]s\nDELIMITER ;\n\n", w.client.Delimiter, sql)
		default:
			fmt.Fprintf(w, "%s;\n\n", sql)
		}
	}
}

// up makes the tables, or upgrades those of a version, which programs may use meanwhile.
func (w *scriptWriter) up(dialect Dialect, names Names, o ScriptOptions) {
	if o.From == 0 {
		for _, s := range dialect.CreateVersions(names) {
			w.statements(s.SQL)
		}
	}
	for _, side := range o.Sides {
		for _, m := range dialect.Migrations(names) {
			if m.Side != side || m.Version <= o.From {
				continue
			}
			if w.format != Atlas { // where it would belong to a statement
				fmt.Fprintf(w, "-- %s, version %d\n\n", side, m.Version)
			}
			w.statements(m.Prepare...)
			w.statements(m.Added...)
			if o.From > 0 {
				w.statements(m.Hold...)
			}
			w.statements(m.Statements...)
			if m.CompatibleFrom > 0 {
				w.statements(dialect.SetVersion(names, compatibility(side, m.Version), m.CompatibleFrom).SQL)
			}
			if o.From > 0 {
				w.statements(m.Release...)
			}
		}
		w.statements(dialect.SetVersion(names, side, newestVersion(dialect, side)).SQL)
	}
}

// down takes the tables away.
func (w *scriptWriter) down(dialect Dialect, names Names, sides []Side) {
	for _, side := range sides {
		if side == Producer {
			w.statements(refuseMessages("the_outbox_has_no_messages", names.Message)...)
		} else {
			w.statements(refuseMessages("no_consumer_keeps_messages", names.Rejected)...)
		}
	}
	for _, side := range sides {
		for _, m := range slices.Backward(dialect.Migrations(names)) {
			if m.Side == side {
				w.statements(m.Undo...)
			}
		}
	}
	if len(sides) > 1 {
		w.statements("DROP TABLE IF EXISTS " + names.Versions)
		return
	}
	w.statements(fmt.Sprintf("DELETE FROM %s WHERE side = '%s' OR side LIKE '%s.%%'", names.Versions, sides[0], sides[0]))
}

// refuseMessages fails where a table has messages, in a way that all databases know,
// and with an error that has the constraint's name.
func refuseMessages(constraint, table string) []string {
	return []string{
		"CREATE TEMPORARY TABLE IF NOT EXISTS waybill_down (messages BIGINT, CONSTRAINT " + constraint + " CHECK (messages = 0))",
		"INSERT INTO waybill_down (messages) SELECT COUNT(*) FROM " + table,
		"DROP TABLE waybill_down",
	}
}
