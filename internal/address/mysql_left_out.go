//go:build waybill_lean && !waybill_mysql

package address

import "database/sql"

func openMySQL(string, string) (*sql.DB, error) { return nil, leftOutError("mysql") }
