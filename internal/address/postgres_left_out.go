//go:build waybill_lean && !waybill_postgres

package address

import (
	"context"
	"database/sql"
)

func openPostgres(string, string) (*sql.DB, error) { return nil, leftOutError("postgres") }

func listenPostgres(string, string, string) func(ctx context.Context, notify func()) error {
	return nil
}
