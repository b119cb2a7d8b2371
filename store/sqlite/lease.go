package sqlite

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// acquireLease takes a lease that is free, over or the holder's own, in one
// conditional write.
const acquireLease = `
INSERT INTO {qrelay} AS r (name, holder, expires_at)
VALUES (?, ?, ` + clock + ` + ?)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE r.holder IN ('', excluded.holder) OR r.expires_at <= ` + clock

const renewLease = `
UPDATE {qrelay} SET expires_at = ` + clock + ` + ?, scan_cursor = ?
WHERE name = ? AND holder = ?`

const releaseLease = `
UPDATE {qrelay} SET holder = '', expires_at = ` + clock + `, scan_cursor = ?
WHERE name = ? AND holder = ?`

const lease = `SELECT holder, expires_at - ` + clock + `, scan_cursor FROM {qrelay} WHERE name = ?`

// AcquireLease implements store.ProducerDialect.
func (dialect) AcquireLease(n store.Names, name, holder string, ttl int64) []store.Statement {
	return []store.Statement{statement.New(n, acquireLease, name, holder, ttl)}
}

// RenewLease implements store.ProducerDialect.
func (dialect) RenewLease(n store.Names, name, holder string, ttl, cursor int64) store.Statement {
	return statement.New(n, renewLease, ttl, cursor, name, holder)
}

// ReleaseLease implements store.ProducerDialect.
func (dialect) ReleaseLease(n store.Names, name, holder string, cursor int64) store.Statement {
	return statement.New(n, releaseLease, cursor, name, holder)
}

// Lease implements store.ProducerDialect.
func (dialect) Lease(n store.Names, name string) store.Statement {
	return statement.New(n, lease, name)
}
