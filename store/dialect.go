// Package store is the seam between Waybill and databases.
//
// A Dialect speaks one database's SQL and nothing else: it builds statements and
// reads errors, and never runs anything. Queue (the producer's tables) and Ledger
// (the consumer's tables) are the one engine that runs those statements for the
// outbox, the relay and the inbox. No driver is imported here: the caller opens
// the *sql.DB. Package storetest has the suite that every dialect passes.
//
// The files:
//
//   - dialect.go: the seam; statement.go: a statement, and who runs it; condition.go and
//     error.go and refused.go: what a database's error means, and what is made of it; transaction.go:
//     transactions that only their owner ends, and the seam for that; session.go: the
//     engine's own connections; check.go: what a relay or an inbox finds at its start
//   - names.go: the tables' names; migrate.go, version.go, script.go: how they are made;
//     older.go: working with those of an older version
//   - insert.go: what Send does; row.go: a message's row
//   - queue.go: the producer's tables; scan.go and page.go: how the relay reads them;
//     settle.go: what becomes of a row; confirmed.go: which named consumers have answered;
//     lease.go: which relay leads; operator.go and tally.go: what commands ask; wait.go: why messages
//     wait; reason.go: the text of last_error
//   - ledger.go: the consumer's tables; guard.go: the guards; source.go: the outboxes
//     that messages come from; horizon.go and prune.go: what may be forgotten, and forgetting it;
//     keys.go: forgetting idle keys, of both sides
//   - kept.go and keptheader.go: messages that a consumer keeps because nobody else does
//   - pause.go: destinations of which nothing is sent or taken
//   - survey.go: what pages ask of both sides, bounded in rows
//   - mutant.go: a planted bug
package store

import (
	"database/sql"

	waybill "github.com/waybill-go/waybill"
)

// Capabilities are declared by each dialect; the engine and the conformance suite ask
// them and never guess.
type Capabilities struct {
	// SingleWriter: one transaction writes at a time, so more than one inbox
	// worker is of no use.
	SingleWriter bool
	// GuardIsolation is the isolation level that a guard's transaction needs: a
	// statement has to see what was committed before it began. The zero value where
	// any level will do.
	GuardIsolation sql.IsolationLevel
	// MaxBatch is the greatest number of rows that the dialect takes in one
	// statement, above 0; the engine splits what is larger.
	MaxBatch int
	// Delimiter is what Script ends statements with that have semicolons of their
	// own, such as triggers, where the database's client needs a DELIMITER command
	// for them; "" where it does not.
	Delimiter string
	// OrStop is what makes the database's own client end at the first error, where it
	// would go on.
	OrStop string
}

// Dialect builds the statements of one database. Implementations are stateless
// and safe for concurrent use; slices given to them are not kept or changed.
// A statement that writes rows of messages or answers fails (Locked) where it waits for a
// lock of one for more than two seconds. Every statement takes its values as arguments; only the checked identifiers of
// Names are written into SQL, and in SetVersion two values of the program's own.
//
// "The clock" below is the database's own, in microseconds since the Unix epoch,
// read when the statement runs (not when its transaction began).
type Dialect interface {
	// Name is "postgres", "mysql" or "sqlite", or a third party's own name.
	Name() string
	// Capabilities declares what the database and its dialect do. It answers without
	// I/O and always the same.
	Capabilities() Capabilities
	// Condition classifies an error of any of the drivers that people use with
	// this database, by behaviour and codes, without importing one.
	Condition(err error) Condition

	// Migrations are all steps of both sides, each side's in order of version.
	Migrations(Names) []Migration
	// Lock holds off every other migration of the same database until Unlock or the
	// end of its connection; both are empty where BeginMigration suffices. Lock reads
	// one row and column: 1 once the lock is held, anything else where waiting for it
	// was in vain.
	Lock(Names) Statement
	Unlock(Names) Statement
	// BeginMigration opens the transaction that a migration runs in, such as
	// "BEGIN IMMEDIATE", and holds off other migrations where Lock does not; empty
	// where DDL cannot be part of a transaction.
	BeginMigration() string
	// CreateVersions makes the table that holds each side's version, and its
	// schema, where missing. The statements have no arguments.
	CreateVersions(Names) []Statement
	// Version reads a side's version: one row and column, or no row.
	Version(Names, Side) Statement
	// SetVersion stores a side's version. The statement has no arguments.
	SetVersion(Names, Side, int) Statement

	SessionDialect
	TransactionDialect
	ProducerDialect
	ConsumerDialect
	KeptDialect
	PauseDialect
	SurveyDialect
	TallyDialect
	WaitDialect
	OlderDialect
}

// ProducerDialect is the part of a Dialect for the outbox and the relay.
//
// A statement that reads rows returns the columns id, message_id, destination,
// dest_type, business_mark, sequence, time_stamp, headers, message_content,
// status, retry, failures, not_before, last_error, in this order; a brief one
// returns the same, but headers, message_content and last_error empty.
type ProducerDialect interface {
	// Insert writes rows into qmessage in their order, at most MaxBatch of them.
	// Rows with a key bump qmessage_key in the same statements: sequence + 1 and
	// time_stamp = max(clock, time_stamp + 1) a row. A row's TimeStamp above 0 is
	// used unchanged, and the key keeps the greatest of those and its own. Rows of
	// one key stand next to each other, and keys are sorted by (destination, dest_type, key),
	// so that all senders lock them in the same order. Rows without a key get sequence 0 and
	// the clock, or their own TimeStamp. Either all rows of a call have a TimeStamp
	// of their own or none has: the engine splits what is mixed. The statements run
	// through Exec alone, in order, in the caller's transaction.
	Insert(Names, []NewRow) []Statement

	// Scan reads rows with id > after in order of id, whatever their status.
	Scan(n Names, after int64, limit int) Statement
	// ScanDestination reads pending rows of one destination with after < id <= upTo
	// that are due by the clock, in order of id.
	ScanDestination(n Names, destination string, topic bool, after, upTo int64, limit int) Statement
	// ScanDue reads pending rows that have (not_before, id) > (notBefore, id) and
	// 0 < not_before <= clock, in that order, by an index unless the dialect is a
	// DueByMessageID.
	ScanDue(n Names, notBefore, id int64, limit int) Statement
	// ScanNewest reads, briefly, pending rows with after < message_id < below, in order of
	// message_id, by an index.
	ScanNewest(n Names, after, below waybill.ID, limit int) Statement
	// ScanPast reads at most size rows with id > after, in order of id and whatever their
	// status: id, and whether the row is wanted, as 1 or 0: it is pending, and not of one
	// of the destinations in passed, which are from 1 to 100.
	ScanPast(n Names, passed []Lane, after int64, size int) Statement
	// Rows reads the pending rows with these ids, at most MaxBatch, in order of id.
	Rows(n Names, ids []int64) Statement
	// Sweep reads, briefly, pending rows with after < id <= upTo, in order of id.
	Sweep(n Names, after, upTo int64, limit int) Statement
	// Delete deletes the rows with these message ids, whatever their status, at
	// most MaxBatch of them.
	Delete(n Names, ids []waybill.ID) Statement
	// Unlocked locks those of the rows with these message ids, at most MaxBatch, that no
	// other transaction has locked, and reads message_id; where the database locks no
	// rows it just reads them.
	Unlocked(n Names, ids []waybill.ID) Statement
	// UnlockedRows is Unlocked by id, and reads id.
	UnlockedRows(n Names, ids []int64) Statement
	// Present reads message_id of the rows with these message ids, at most MaxBatch, and
	// waits for nobody.
	Present(n Names, ids []waybill.ID) Statement
	// CountCopies adds one to retry of the rows with these ids, at most MaxBatch.
	CountCopies(n Names, ids []int64) Statement
	// Reject sets status 2 and last_error of a pending row, and not_before to clock: when it
	// was rejected.
	Reject(n Names, id waybill.ID, reason string) Statement
	// Postpone sets a pending row's not_before to clock + delay (µs) and its
	// last_error, and adds 1 to retry and failures to failures; with tries above 0 only
	// where its failures are below that.
	Postpone(n Names, id waybill.ID, delay int64, failures, tries int, reason string) Statement
	// Floor reads the lowest message_id of the pending rows that is below an id: one
	// row, null if there is none. It reads the low end of an index, whatever lies there.
	Floor(n Names, below waybill.ID) Statement
	// RejectedFloor reads the lowest message_id of the rejected rows from an id to below
	// another one, likewise.
	RejectedFloor(n Names, from, below waybill.ID) Statement
	// Rejections reads, of the rejected rows with from <= not_before < to, the highest
	// not_before and the lowest message_id of those for which not_before / width is the same
	// whole number, in any order. It may read all rejected rows.
	Rejections(n Names, from, to, width int64) Statement
	// Identity reads the identity of qoutbox: one row and column.
	Identity(Names) Statement
	// NoteTwin notes in qoutbox that another relay with its identity was heard now.
	NoteTwin(n Names, holder string) Statement
	// Twin reads the last one that was heard, and for how long (µs) it has not been: one
	// row, or none where there never was any.
	Twin(Names) Statement
	// Clock reads the clock: one row and column.
	Clock() Statement

	// Notify wakes the relays of other processes that listen; an empty statement
	// where the database has no such means.
	Notify(Names) Statement

	// AcquireLease makes holder the lease's holder until clock + ttl (µs) where it
	// has no other holder or that one's time is up; Lease tells what came of it.
	AcquireLease(n Names, name, holder string, ttl int64) []Statement
	// RenewLease extends holder's own lease and stores its cursor.
	RenewLease(n Names, name, holder string, ttl, cursor int64) Statement
	// ReleaseLease ends holder's own lease now, so that it has no holder, and stores its
	// cursor.
	ReleaseLease(n Names, name, holder string, cursor int64) Statement
	// Lease reads holder, expires_at - clock (µs), cursor: one row or none.
	Lease(n Names, name string) Statement

	// Count reads destination, dest_type, status, count, the lowest message_id and
	// the greatest retry, grouped by the first three, ordered by them.
	Count(Names) Statement
	// List reads rows of one status with id > after in order of id; destination ""
	// stands for all.
	List(n Names, destination string, status int, after int64, limit int) Statement
	// Find reads the rows with these message ids, at most MaxBatch, whatever their
	// status, in order of id.
	Find(n Names, ids []waybill.ID) Statement
	// Resend makes a rejected row pending under newID, which may be its id, due now
	// (not_before = clock), with retry, failures and last_error reset.
	Resend(n Names, id, newID waybill.ID) Statement
	// Discard deletes a row if it is rejected.
	Discard(n Names, id waybill.ID) Statement

	// BusyKeys reads the distinct destination, dest_type, business_mark of the messages
	// with a key and a time stamp before a time, at most limit of them.
	BusyKeys(n Names, before int64, limit int) Statement
	// KeepAboveKeys writes the highest sequence and the highest time stamp of each
	// destination's idle keys into the row of qmessage_key with the destination "", the
	// same dest_type and the destination's name as business_mark, unless that has higher
	// ones. A key is idle if FirstTime <= time_stamp < before. Insert and the trigger have
	// a key without a row go on above both.
	KeepAboveKeys(n Names, before int64) Statement
	// OpenTransactions reads a name, which no other one gets, of each transaction that is
	// open now in this database but its own; empty where Insert and the trigger see what
	// KeepAboveKeys has committed however old their own transaction is.
	OpenTransactions() Statement
	// KeyPage reads destination, dest_type, business_mark of qmessage_key and whether the
	// key is idle, in this order, after a key (the zero Key: from the lowest that has a
	// destination).
	KeyPage(n Names, after Key, before int64, limit int) Statement
	// ForgetKeys deletes the rows of these keys, at most MaxBatch, that are idle still and
	// not above what KeepAboveKeys has written.
	ForgetKeys(n Names, keys []Key, before int64) Statement

	// SaveAnswers writes answers into qconfirmed, at most MaxBatch of them, in order of
	// message and consumer and one for each. An answer that is there gives way unless it
	// is a confirmation.
	SaveAnswers(Names, []Answer) Statement
	// UnlockedAnswers locks those of the answers on these messages, at most MaxBatch, that no
	// other transaction has locked, and reads message_id and consumer; where the database
	// locks no rows it just reads them.
	UnlockedAnswers(n Names, ids []waybill.ID) Statement
	// Answers reads message_id, consumer, outcome, last_error, time_stamp of qconfirmed
	// for these messages, at most MaxBatch.
	Answers(n Names, ids []waybill.ID) Statement
	// Answered reads the distinct message ids of qconfirmed above an id, in order.
	Answered(n Names, after waybill.ID, limit int) Statement
	// DeleteAnswers deletes from qconfirmed what there is for these messages, at most
	// MaxBatch.
	DeleteAnswers(n Names, ids []waybill.ID) Statement
	// DeleteRejections deletes from qconfirmed the rejections of a message.
	DeleteRejections(n Names, id waybill.ID) Statement
	// ScanUnanswered reads, briefly, what ScanDestination would, but of it the rows that
	// have something in qconfirmed and nothing of this consumer.
	ScanUnanswered(n Names, destination string, topic bool, consumer string, after, upTo int64, limit int) Statement
	// FindBriefly is Find, but brief.
	FindBriefly(n Names, ids []waybill.ID) Statement
}

// ConsumerDialect is the part of a Dialect for the inbox.
type ConsumerDialect interface {
	// RecordOnce inserts the marks' records into n1_record where they are missing,
	// in one conditional write: Exec runs first, in order; then Query returns the
	// message_id of each record that was inserted by it. Marks come sorted by id,
	// without repetition. nonce is a random number that no other call uses.
	RecordOnce(n Names, consumer string, nonce int64, marks []Mark) Guard
	// RecordLatest inserts or updates the marks' records in n2_record where there
	// is none with a (time_stamp, message_id) as great or greater, in one
	// conditional write; Query returns the message_id of each that was written.
	// Marks come sorted by (destination, topic, key), one for each at most.
	RecordLatest(n Names, consumer string, nonce int64, marks []Mark) Guard
	// LatestIDs reads dest_name, dest_type, business_mark, message_id of the marks' records.
	LatestIDs(n Names, consumer string, marks []Mark) Statement
	// Horizons reads producer, message_id (the horizon; null or the zero ID if
	// none) and floor (likewise) of one consumer; producers nil stands for all.
	Horizons(n Names, consumer string, producers []string) Statement
	// SaveFloor stores a producer's floor unless a higher one is stored.
	SaveFloor(n Names, consumer, producer string, floor waybill.ID) Statement
	// SaveHorizon stores a producer's horizon unless a higher one is stored.
	SaveHorizon(n Names, consumer, producer string, horizon waybill.ID) Statement
	// OnceWindow reads size records of n1_record after the id after (the zero ID:
	// from the lowest) and below the id below, in order of message_id: message_id and
	// whether it is below its producer's horizon in n_horizon (false without one).
	// It locks no rows and waits for none.
	OnceWindow(n Names, consumer string, after, below waybill.ID, size int) Statement
	// PruneOnce deletes those of the records with these message ids, at most
	// MaxBatch, that are below their producer's horizon.
	PruneOnce(n Names, consumer string, ids []waybill.ID) Statement
	// KeepAboveStates writes the highest time stamp of each destination's idle records in
	// n2_record into the record with the dest_name "", the same dest_type and the
	// destination's name as business_mark, unless that has a higher one. A record is idle if
	// its time_stamp is below before and its message_id below its producer's horizon; a
	// destination where any record's time_stamp is below FirstTime, or above ahead, is left
	// out.
	KeepAboveStates(n Names, consumer string, before, ahead int64) Statement
	// StatePage reads dest_name, dest_type, business_mark and whether the record is idle
	// and not above what KeepAboveStates has written, in this order, after a key (the zero
	// Key: from the lowest that has a destination).
	StatePage(n Names, consumer string, after Key, before int64, limit int) Statement
	// ForgetStates deletes the records of these keys, at most MaxBatch, that are such still.
	ForgetStates(n Names, consumer string, keys []Key, before int64) Statement
	// ForgottenStates reads destination, dest_type, time_stamp of what KeepAboveStates has
	// written.
	ForgottenStates(n Names, consumer string) Statement
	// Consumers reads the distinct consumers that n_horizon knows.
	Consumers(Names) Statement
}

// Guard is a guard's statements; see ConsumerDialect.RecordOnce.
type Guard struct {
	Exec  []Statement
	Query Statement
}

// Adviser is implemented by a Dialect that knows what a person can do about some
// errors; Migrate adds the advice to its own error.
type Adviser interface {
	// Advice returns one sentence, or "" where there is nothing to add.
	Advice(err error) string
}
