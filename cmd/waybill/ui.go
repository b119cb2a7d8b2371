package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/admin"
)

const uiHelp = `Serve a page for the person on duty, and its JSON API below /api/v1 (described by
/api/v1/openapi.json), for one database or several. It works on the tables alone, beside
whatever relays and inboxes run. "waybill relay --http" and "waybill receive --http" serve
the same page, which then knows what only they know.

Beyond this machine it starts only where something says who may come in.

` + consoleHelp

const uiExample = `  waybill ui --db postgres://app:secret@localhost/app
  waybill ui --database shop=sqlite:shop.db --database shipping=sqlite:shipping.db
  waybill ui --http :8443 --http-cert tls.crt --http-key tls.key --http-token-file token`

type uiFlags struct {
	console   consoleFlags
	databases []string
}

func newUICommand(o *options) *cobra.Command {
	var f uiFlags
	cmd := &cobra.Command{
		Use:     "ui",
		Short:   "Serve the page that shows what waits, and repairs it",
		Long:    uiHelp,
		Example: uiExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), o)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringArrayVar(&f.databases, "database", nil, "`NAME=ADDRESS` of a database to show besides that of --db; may be repeated (WAYBILL_DATABASES, with blanks between)")
	f.console.register(cmd, []string{"127.0.0.1:8080"}, "serve at this `address`; may be repeated")
	return cmd
}

func (f *uiFlags) run(ctx context.Context, o *options) error {
	options, err := f.console.options()
	if err != nil {
		return err
	}
	if f.console.isOpen(options) {
		return usagef("--http %s can be reached from other machines, and nothing says who may come in: give --http-token-file, or see 'waybill ui --help'", strings.Join(f.console.addrs, ", "))
	}
	databases, closeAll, err := f.open(o)
	defer closeAll()
	if err != nil {
		return err
	}
	console, err := admin.NewConsole(options, databases...)
	if err != nil {
		return usage(err)
	}
	defer console.Close()
	secure, err := f.console.tls()
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, f.console.addrs)
	if err != nil {
		return err
	}
	serve(ctx, listeners, secure, console, console.Close)
	return nil
}

// open opens the databases. What it returns closes them, also after an error.
func (f *uiFlags) open(o *options) (databases []admin.Database, closeAll func(), err error) {
	var opened []*database
	closeAll = func() {
		for _, d := range opened {
			_ = d.Close()
		}
	}
	add := func(name, addr string) error {
		one := *o
		one.db = addr
		d, err := one.openExisting()
		if err != nil {
			return err
		}
		opened = append(opened, d)
		databases = append(databases, admin.Database{Name: name, DB: d.DB, Dialect: d.dialect, TablePrefix: d.prefix, About: d.address})
		return nil
	}
	named := f.databases
	if len(named) == 0 {
		named = strings.Fields(os.Getenv("WAYBILL_DATABASES"))
	}
	if o.db != "" || len(named) == 0 {
		if err := add("main", o.db); err != nil {
			return nil, closeAll, err
		}
	}
	for _, text := range named {
		name, addr, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, closeAll, usagef("a database to show is NAME=ADDRESS, such as shop=sqlite:shop.db")
		}
		if err := add(name, addr); err != nil {
			return nil, closeAll, fmt.Errorf("database %s: %w", name, err)
		}
	}
	return databases, closeAll, nil
}
