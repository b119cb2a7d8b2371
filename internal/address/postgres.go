//go:build !waybill_lean || waybill_postgres

package address

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

func openPostgres(addr, name string) (*sql.DB, error) {
	u, err := serverURL(addr)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(addr)
	if err != nil {
		// The outer error repeats the address.
		var parse *pgconn.ParseConfigError
		if inner := errors.Unwrap(err); errors.As(err, &parse) && inner != nil {
			err = inner
		}
		return nil, err
	}
	if name != "" && config.RuntimeParams[applicationName] == "" {
		config.RuntimeParams[applicationName] = name
	}
	if u.Query().Has("default_query_exec_mode") {
		return bounded(stdlib.OpenDB(*config)), nil
	}
	var p pooler
	return bounded(stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(p.before), stdlib.OptionAfterConnect(p.after))), nil
}

// pooler finds out whether a database is behind a pooler, such as PgBouncer. There
// statements cannot be prepared beforehand: they may come to another session.
type pooler struct{ direct, found atomic.Bool }

func (p *pooler) before(_ context.Context, config *pgx.ConnConfig) error {
	if p.found.Load() {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	return nil
}

func (p *pooler) after(ctx context.Context, conn *pgx.Conn) error {
	if p.found.Load() || p.direct.Load() {
		return nil
	}
	pooled, err := pgxdriver.BehindPooler(ctx, conn.PgConn())
	switch {
	case err != nil:
		_ = conn.Close(ctx)
		return err
	case !pooled:
		p.direct.Store(true)
		return nil
	}
	p.found.Store(true)
	_ = conn.Close(ctx)
	return driver.ErrBadConn // and database/sql connects again
}

func listenPostgres(addr, prefix, name string) func(ctx context.Context, notify func()) error {
	return pgxdriver.Listener(named(addr, name), postgres.Channel(prefix))
}

// applicationName is the parameter by which pg_stat_activity and the server's log show a
// connection.
const applicationName = "application_name"

// named is an address with a name for its connections, where neither it nor the environment
// has one. What is no address stays as it is: whoever connects says so.
func named(addr, name string) string {
	config, err := pgx.ParseConfig(addr)
	if err != nil || name == "" || config.RuntimeParams[applicationName] != "" {
		return addr
	}
	addr, fragment, _ := strings.Cut(addr, "#")
	mark := "?"
	if strings.Contains(addr, "?") {
		mark = "&"
	}
	if fragment != "" {
		fragment = "#" + fragment
	}
	// As in libpq, a plus sign stands for itself.
	return addr + mark + applicationName + "=" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20") + fragment
}
