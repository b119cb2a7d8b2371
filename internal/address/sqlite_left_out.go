//go:build waybill_lean && !waybill_sqlite && !waybill_demo && !waybill_torture

package address

import "database/sql"

func openSQLite(string) (*sql.DB, error) { return nil, leftOutError("sqlite") }
