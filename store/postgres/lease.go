package postgres

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// acquireLease takes a lease that is free, over or the holder's own. The condition
// is judged under the row's lock, so of two holders one wins.
const acquireLease = `
INSERT INTO {qrelay} AS r (name, holder, expires_at)
VALUES ($1::text, $2::text, ` + clock + ` + $3::bigint)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, expires_at = ` + clock + ` + $3::bigint
WHERE r.holder IN ('', excluded.holder) OR r.expires_at <= ` + clock

const renewLease = `
UPDATE {qrelay} SET expires_at = ` + clock + ` + $3::bigint, scan_cursor = $4::bigint
WHERE name = $1::text AND holder = $2::text`

const releaseLease = `
UPDATE {qrelay} SET holder = '', expires_at = ` + clock + `, scan_cursor = $3::bigint
WHERE name = $1::text AND holder = $2::text`

const lease = `SELECT holder, expires_at - ` + clock + `, scan_cursor FROM {qrelay} WHERE name = $1::text`

// AcquireLease implements store.ProducerDialect.
func (dialect) AcquireLease(n store.Names, name, holder string, ttl int64) []store.Statement {
	return []store.Statement{statement.New(n, acquireLease, name, holder, ttl)}
}

// RenewLease implements store.ProducerDialect.
func (dialect) RenewLease(n store.Names, name, holder string, ttl, cursor int64) store.Statement {
	return statement.New(n, renewLease, name, holder, ttl, cursor)
}

// ReleaseLease implements store.ProducerDialect.
func (dialect) ReleaseLease(n store.Names, name, holder string, cursor int64) store.Statement {
	return statement.New(n, releaseLease, name, holder, cursor)
}

// Lease implements store.ProducerDialect.
func (dialect) Lease(n store.Names, name string) store.Statement {
	return statement.New(n, lease, name)
}
