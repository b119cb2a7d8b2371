package sqlite

import (
	"github.com/waybill-go/waybill/store"
)

// Setup is empty: nothing that a connection can be set to changes what a statement does.
func (dialect) Setup() store.Setup { return store.Setup{} }

// ReadOnly implements store.SessionDialect.
func (dialect) ReadOnly(err error) bool {
	code, coded := resultCode(err)
	return coded != nil && code&0xff == codeReadOnly
}

// TimedOut is never true: SQLite limits no statement's time.
func (dialect) TimedOut(error) bool { return false }

// Locked is never true: SQLite locks no rows.
func (dialect) Locked(error) bool { return false }

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	if d.ReadOnly(err) {
		return "the database takes no writes: see that this user may write the file and its directory, and that the file was not replaced while it was open"
	}
	return ""
}

// Findings implements store.SessionDialect.
func (dialect) Findings(store.Names, store.Side) []store.Statement {
	return []store.Statement{{SQL: `
SELECT 0, 'synchronous is OFF: a power cut may take back what has been committed, or damage the file; set it to FULL'
FROM pragma_synchronous
WHERE synchronous = 0`}}
}
