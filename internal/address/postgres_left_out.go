//go:build waybill_lean && !waybill_postgres

package address

import "database/sql"

func openPostgres(string) (*sql.DB, error) { return nil, leftOut("postgres") }
