// Package mutant plants bugs, to show that 'waybill torture' finds them. A build with
// the tag mutant_<name> has the bug <name> and no other; a build without such a tag
// has none, and the compiler leaves nothing of this package in it.
//
// Each bug is a constant here and an if where the code does right otherwise. "make
// mutants" builds and tortures them all.
package mutant

// The bugs.
const (
	// AckBeforeCommit: the inbox acknowledges a message before its transaction.
	AckBeforeCommit = chosen == "ack_before_commit"
	// AckUnkept: the inbox acknowledges a message that it gives up, and that nobody keeps.
	AckUnkept = chosen == "ack_unkept"
	// ReceiptBeforeCommit: the inbox sends its receipts before its transaction.
	ReceiptBeforeCommit = chosen == "receipt_before_commit"
	// GuardOutsideTransaction: the guard's record is committed before the handler's
	// transaction begins.
	GuardOutsideTransaction = chosen == "guard_outside_transaction"
	// CommitUnchecked: the transaction that commits is not held, and is taken for the one
	// that the guards were written in.
	CommitUnchecked = chosen == "commit_unchecked"
	// BlameBeforeHandler: trouble before a handler has run counts against the message.
	BlameBeforeHandler = chosen == "blame_before_handler"
	// SelectThenUpdate: Latest reads the key's record, compares, and overwrites it.
	SelectThenUpdate = chosen == "select_then_update"
	// NoRecord: Once keeps no record of what it has handled.
	NoRecord = chosen == "no_record"
	// DeleteOnPublish: the relay deletes a row when the broker has confirmed it.
	DeleteOnPublish = chosen == "delete_on_publish"
	// DeleteOnRetry: the relay takes every receipt for a good one.
	DeleteOnRetry = chosen == "delete_on_retry"
	// ReceiptByID: receipts come back on a queue that the producer's name alone is in, so
	// that who knows that and an id can confirm a message.
	ReceiptByID = chosen == "receipt_by_id"
	// ForgetByName: what a consumer may forget is told by whoever has the producer's name.
	ForgetByName = chosen == "forget_by_name"
	// FirstConsumer: the relay takes the first receipt for enough, where several
	// consumers must confirm.
	FirstConsumer = chosen == "first_consumer"
	// WindowHeld: what one of several consumers lacks stays in its destination's window.
	WindowHeld = chosen == "window_held"
	// CursorWithoutSweep: the relay reads forward only, and never looks back for what
	// committed late or was sent by a relay that is gone.
	CursorWithoutSweep = chosen == "cursor_without_sweep"
	// NoResend: the relay sends each message once.
	NoResend = chosen == "no_resend"
	// ProcessClock: time stamps are of the sending process's clock.
	ProcessClock = chosen == "process_clock"
	// GuardBySequence: Latest compares sequences in place of time stamps.
	GuardBySequence = chosen == "guard_by_sequence"
	// ForgetByClock: records go by their age alone, whatever their producer still has.
	ForgetByClock = chosen == "forget_by_clock"
	// ResendAsNew: a rejected message is sent again under a new id.
	ResendAsNew = chosen == "resend_as_new"
)
