// Package migrations runs the scripts of 'waybill init --print' through the tools that they
// are for. It is a module of its own, so that nobody who uses Waybill has to have these.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	atlas "ariga.io/atlas/sql/migrate"
	atlasmysql "ariga.io/atlas/sql/mysql"
	atlaspostgres "ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	atlassqlite "ariga.io/atlas/sql/sqlite"
	"github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/mysql"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	_ "github.com/golang-migrate/migrate/v4/database/sqlite"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/pressly/goose/v3"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/sqlite"
)

// database is a kind of database, by the names that the tools have for it.
type database struct {
	name    string
	dialect store.Dialect
	address func(t *testing.T) string // of a fresh one, without tables
	goose   goose.Dialect
	migrate func(at *url.URL) string // the address as golang-migrate wants it
	atlas   func(schema.ExecQuerier) (atlas.Driver, error)
}

var databases = []database{
	{
		name: "sqlite", dialect: sqlite.Dialect(), goose: goose.DialectSQLite3, atlas: atlassqlite.Open,
		address: func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "app.db") },
		migrate: func(at *url.URL) string { return "sqlite://" + at.Opaque + at.Path },
	},
	{
		name: "postgres", dialect: postgres.Dialect(), goose: goose.DialectPostgres, atlas: atlaspostgres.Open,
		address: func(t *testing.T) string { return fresh(t, "WAYBILL_TEST_POSTGRES", " WITH (FORCE)") },
		migrate: func(at *url.URL) string { return strings.Replace(at.String(), "postgres", "pgx5", 1) },
	},
	{
		name: "mysql", dialect: mysql.Dialect(), goose: goose.DialectMySQL, atlas: atlasmysql.Open,
		address: func(t *testing.T) string { return fresh(t, "WAYBILL_TEST_MYSQL", "") },
		migrate: func(at *url.URL) string {
			return fmt.Sprintf("mysql://%s@tcp(%s)%s", at.User, at.Host, at.Path)
		},
	},
}

// fresh makes a database of its own on a server, and drops it in the end.
func fresh(t *testing.T, variable, force string) string {
	t.Helper()
	at := testserver.Address(t, variable)
	admin := open(t, at)
	name := "migrations_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	run(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { run(t, admin, "DROP DATABASE "+name+force) })
	u := parse(t, at)
	u.Path = "/" + name
	return u.String()
}

func parse(t *testing.T, at string) *url.URL {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func open(t *testing.T, at string) *sql.DB {
	t.Helper()
	db, _, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}

// send sends a message as a program does that uses the tables.
func (d database) send(t *testing.T, db *sql.DB, prefix string) {
	t.Helper()
	out, err := outbox.New(d.dialect, &outbox.Options{TablePrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	err = out.InTx(t.Context(), db, func(tx *sql.Tx) error {
		return out.Send(t.Context(), tx, waybill.Message{Destination: "orders", Key: "k", Body: []byte("x")})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// check says what both sides' tables lack.
func (d database) check(t *testing.T, db *sql.DB, prefix string) (lacking error) {
	t.Helper()
	names, err := store.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		lacking = errors.Join(lacking, store.CheckSchema(t.Context(), db, d.dialect, names, side))
	}
	return lacking
}

// script is a script for a tool.
func (d database) script(t *testing.T, prefix string, o store.ScriptOptions) *fstest.MapFile {
	t.Helper()
	text, err := store.Script(d.dialect, prefix, o)
	if err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: []byte(text)}
}

// tool is a tool that has the migrations of one database.
type tool struct {
	up, down func() error
	// mend makes it go on after a migration that has failed, as a person does.
	mend func() error
}

// tools make the tables from a version.
var tools = map[store.ScriptFormat]func(t *testing.T, d database, at, prefix string, from int) tool{
	store.Goose:         newGoose,
	store.GolangMigrate: newMigrate,
	store.Atlas:         newAtlas,
}

func newGoose(t *testing.T, d database, at, prefix string, from int) tool {
	p, err := goose.NewProvider(d.goose, open(t, at), fstest.MapFS{
		"00001_waybill.sql": d.script(t, prefix, store.ScriptOptions{Format: store.Goose, From: from}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tool{
		up:   func() error { _, err := p.Up(t.Context()); return err },
		down: func() error { _, err := p.Down(t.Context()); return err },
		mend: func() error { return nil },
	}
}

func newMigrate(t *testing.T, d database, at, prefix string, from int) tool {
	files := fstest.MapFS{"1_waybill.up.sql": d.script(t, prefix, store.ScriptOptions{Format: store.GolangMigrate, From: from})}
	if from == 0 {
		files["1_waybill.down.sql"] = d.script(t, prefix, store.ScriptOptions{Format: store.GolangMigrate, Down: true})
	}
	source, err := iofs.New(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrate.NewWithSourceInstance("iofs", source, d.migrate(parse(t, at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close()); err != nil {
			t.Error(err)
		}
	})
	return tool{up: m.Up, down: func() error { return m.Steps(-1) }, mend: func() error { return m.Force(1) }}
}

// newAtlas goes down by a further migration, as its files have one way only.
func newAtlas(t *testing.T, d database, at, prefix string, from int) tool {
	db := open(t, at)
	version := 0
	execute := func(o store.ScriptOptions) (err error) {
		tx, err := db.BeginTx(t.Context(), nil) // as the command has one for each file
		if err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = tx.Commit()
			} else {
				_ = tx.Rollback()
			}
		}()
		driver, err := d.atlas(tx)
		if err != nil {
			return err
		}
		o.Format = store.Atlas
		version++
		dir := atlas.OpenMemDir(fmt.Sprint(t.Name(), version))
		defer dir.Close()
		if err := dir.WriteFile("1_waybill.sql", d.script(t, prefix, o).Data); err != nil {
			return err
		}
		sum, err := dir.Checksum()
		if err == nil {
			err = atlas.WriteSumFile(dir, sum)
		}
		if err != nil {
			return err
		}
		executor, err := atlas.NewExecutor(driver, dir, &revisions{}, atlas.WithAllowDirty(true))
		if err != nil {
			return err
		}
		return executor.ExecuteN(t.Context(), 1)
	}
	return tool{
		up:   func() error { return execute(store.ScriptOptions{From: from}) },
		down: func() error { return execute(store.ScriptOptions{Down: true}) },
		mend: func() error { _, err := db.ExecContext(t.Context(), "DROP TABLE IF EXISTS waybill_down"); return err },
	}
}

// revisions are what Atlas remembers of its migrations.
type revisions struct{ all []*atlas.Revision }

func (r *revisions) Ident() *atlas.TableIdent { return &atlas.TableIdent{Name: "revisions"} }

func (r *revisions) ReadRevisions(context.Context) ([]*atlas.Revision, error) { return r.all, nil }

func (r *revisions) ReadRevision(_ context.Context, version string) (*atlas.Revision, error) {
	if i := slices.IndexFunc(r.all, func(x *atlas.Revision) bool { return x.Version == version }); i >= 0 {
		return r.all[i], nil
	}
	return nil, atlas.ErrRevisionNotExist
}

func (r *revisions) WriteRevision(_ context.Context, x *atlas.Revision) error {
	r.all = slices.DeleteFunc(r.all, func(old *atlas.Revision) bool { return old.Version == x.Version })
	r.all = append(r.all, x)
	return nil
}

func (r *revisions) DeleteRevision(_ context.Context, version string) error {
	r.all = slices.DeleteFunc(r.all, func(old *atlas.Revision) bool { return old.Version == version })
	return nil
}

func TestToolsTakeTheTablesUpDownAndUpAgain(t *testing.T) {
	for _, d := range databases {
		for format, newTool := range tools {
			for _, prefix := range []string{"", "app_"} {
				t.Run(fmt.Sprintf("%s/%s/prefix=%s", d.name, format, prefix), func(t *testing.T) {
					at := d.address(t)
					db := open(t, at)
					runner := newTool(t, d, at, prefix, 0)
					for range 2 {
						if err := runner.up(); err != nil {
							t.Fatal(err)
						}
						d.send(t, db, prefix)
						if err := runner.down(); err == nil || !strings.Contains(err.Error(), "the_outbox_has_no_messages") {
							t.Fatalf("got error %v of going down with a message in the outbox, want one that says so", err)
						}
						if err := d.check(t, db, prefix); err != nil {
							t.Fatalf("after that the tables are not whole: %v", err)
						}
						if err := runner.mend(); err != nil {
							t.Fatal(err)
						}
						run(t, db, "DELETE FROM "+prefix+"qmessage")
						if err := runner.down(); err != nil {
							t.Fatal(err)
						}
						if err := d.check(t, db, prefix); !errors.Is(err, waybill.ErrSchema) {
							t.Errorf("got error %v of tables that are gone, want one of the schema", err)
						}
					}
				})
			}
		}
	}
}

func TestToolsUpgradeTheTables(t *testing.T) {
	for _, d := range databases {
		for format, newTool := range tools {
			t.Run(d.name+"/"+string(format), func(t *testing.T) {
				at := d.address(t)
				db := open(t, at)
				db.SetMaxOpenConns(1) // what a session prepares is prepared in that one
				names, err := store.NewNames("")
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range d.dialect.CreateVersions(names) {
					run(t, db, s.SQL)
				}
				for _, m := range d.dialect.Migrations(names) {
					if m.Version == 1 {
						for _, text := range append(m.Statements, d.dialect.SetVersion(names, m.Side, 1).SQL) {
							run(t, db, text)
						}
					}
				}
				if err := newTool(t, d, at, "", 1).up(); err != nil {
					t.Fatal(err)
				}
				if err := d.check(t, db, ""); err != nil {
					t.Error(err)
				}
				d.send(t, db, "")
			})
		}
	}
}
