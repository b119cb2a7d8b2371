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

// Full implements store.SessionDialect. Where the file of shared memory cannot grow, SQLite
// speaks of an I/O error.
func (dialect) Full(err error) bool {
	code, coded := resultCode(err)
	return coded != nil && (code&0xff == codeFull || code == codeShmSize)
}

// Refused is never true: SQLite's files have no passwords.
func (dialect) Refused(error) bool { return false }

// TimedOut is never true: SQLite limits no statement's time.
func (dialect) TimedOut(error) bool { return false }

// Locked is never true: SQLite locks no rows.
func (dialect) Locked(error) bool { return false }

// Misled implements store.SessionDialect: nothing that a connection is set to takes the
// tables away, and one may be the only one on a database in memory.
func (dialect) Misled(error) bool { return false }

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	switch {
	case d.Full(err):
		return "the database has no room: make some on its disk, or raise its limit (PRAGMA max_page_count); everything waits until then"
	case d.ReadOnly(err):
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
