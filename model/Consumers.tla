----------------------------- MODULE Consumers -----------------------------
(***************************************************************************)
(* The row of one message to a topic that names its consumers: who has     *)
(* confirmed is known to relays' memories and, where consumers differ, to  *)
(* the table qconfirmed; the row goes when all have confirmed.  What a     *)
(* consumer does between a copy and its receipt is Waybill.tla's; here it  *)
(* is one step.  Messages share nothing in this, so one is enough.         *)
(*                                                                         *)
(* A step is what one statement, one transaction or one publish does.      *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
  Consumers,  \* those that the topic names
  Relays,     \* relays; all of them lead at the same time
  MaxFaults,  \* how often something goes wrong; Unbounded: without end
  Refusals,   \* whether consumers may reject
  Sweeping,   \* whether relays find rows that nobody looks after
  Mutant      \* a fault planted in the protocol; "none" for what is built

Unbounded == 99

VARIABLES
  \* The producer's database.
  row,        \* of qmessage
  saved,      \* qconfirmed: answers that are written
  \* The relays.
  known,      \* of each, the consumers whose confirmation is in its memory
  job,        \* of each, what it does with what is written
  \* The broker.
  copies,     \* consumers that a copy is on its way to
  receipts,   \* receipts on their way
  \* The consumers' databases.
  effects,    \* consumers whose handler has committed
  refused,    \* consumers that have rejected
  \* What has happened, for the promises.
  confirmed,  \* consumers whose confirmation was written
  faults      \* how much has gone wrong

database == <<row, saved, confirmed>>
relays == <<known, job>>
broker == <<copies, receipts>>
handlers == <<effects, refused>>
vars == <<database, relays, broker, handlers, faults>>

Outcome == {"confirmed", "rejected"}
Answers == Consumers \X Outcome
Idle == [phase |-> "idle", read |-> {}]

TypeOK ==
  /\ row \in {"pending", "rejected", "gone"}
  /\ saved \subseteq Answers
  /\ known \in [Relays -> SUBSET Consumers]
  /\ job \in [Relays -> [phase : {"idle", "saved", "read", "to save"}, read : SUBSET Answers]]
  /\ copies \subseteq Consumers
  /\ receipts \subseteq Answers
  /\ effects \subseteq Consumers
  /\ refused \subseteq Consumers
  /\ confirmed \subseteq Consumers
  /\ faults \in 0..Unbounded

Init ==
  /\ row = "pending" /\ saved = {} /\ confirmed = {}
  /\ known = [r \in Relays |-> {}] /\ job = [r \in Relays |-> Idle]
  /\ copies = {} /\ receipts = {}
  /\ effects = {} /\ refused = {}
  /\ faults = 0

-----------------------------------------------------------------------------
Confirming(answers) == {c \in Consumers : <<c, "confirmed">> \in answers}
Answering(answers) == {a[1] : a \in answers}
IsComplete(answers) == Answering(answers) = Consumers

\* Something goes wrong: a conjunct of every such action.
Fault ==
  IF MaxFaults = Unbounded
  THEN UNCHANGED faults
  ELSE faults < MaxFaults /\ faults' = faults + 1

-----------------------------------------------------------------------------
(* The consumers.                                                          *)

\* The effect, or a copy that is dropped because there was one.
Handle(c) ==
  /\ c \in copies
  /\ copies' = copies \ {c}
  /\ effects' = effects \cup {c}
  /\ receipts' = receipts \cup {<<c, "confirmed">>}
  /\ UNCHANGED <<database, relays, refused, faults>>

\* It has had no effect and is to have none, or the consumer has forgotten that it had
\* one.
Refuse(c) ==
  /\ Refusals
  /\ c \in copies
  /\ copies' = copies \ {c}
  /\ refused' = refused \cup {c}
  /\ receipts' = receipts \cup {<<c, "rejected">>}
  /\ UNCHANGED <<database, relays, effects, faults>>

-----------------------------------------------------------------------------
(* The broker.                                                             *)

LoseCopy(c) ==
  /\ c \in copies
  /\ Fault
  /\ copies' = copies \ {c}
  /\ UNCHANGED <<database, relays, receipts, handlers>>

LoseReceipt(a) ==
  /\ a \in receipts
  /\ Fault
  /\ receipts' = receipts \ {a}
  /\ UNCHANGED <<database, relays, copies, handlers>>

\* It is handled and comes again: the acknowledgement was lost.
RepeatReceipt(a) ==
  /\ a \notin receipts
  /\ a \in (effects \X {"confirmed"}) \cup (refused \X {"rejected"})
  /\ Fault
  /\ receipts' = receipts \cup {a}
  /\ UNCHANGED <<database, relays, copies, handlers>>

-----------------------------------------------------------------------------
(* The relays.  Nothing that they remember carries a promise.              *)

\* A copy goes to the topic, so to all of them.  Where all have answered nobody asks.
Send ==
  /\ row = "pending"
  /\ ~IsComplete(saved)
  /\ copies' = Consumers
  /\ UNCHANGED <<database, relays, receipts, handlers, faults>>

\* The message is in the relay's window, and what it hears stays in its memory.  When
\* all have confirmed the row goes.
HearInWindow(r, c) ==
  /\ <<c, "confirmed">> \in receipts
  /\ receipts' = receipts \ {<<c, "confirmed">>}
  /\ known' = [known EXCEPT ![r] = @ \cup {c}]
  /\ row' = IF known'[r] = Consumers \/ Mutant = "first-consumer" THEN "gone" ELSE row
  /\ UNCHANGED <<saved, confirmed, job, copies, handlers, faults>>

\* What an answer and what is in memory leave in the table: a confirmation stays,
\* whatever its consumer says after it.
Merged(answers) ==
  LET sure == IF Mutant = "last-answer" THEN Confirming(answers) ELSE Confirming(saved \cup answers)
      said == Answering(answers) IN
  {a \in saved : a[1] \notin said} \cup {<<c, "confirmed">> : c \in sure}
    \cup {a \in answers : a[1] \notin sure}

\* The statement that writes answers.  It does nothing for a row that is gone that
\* anybody would see: such answers are deleted some time (dropOrphans).
Save(r, answers) ==
  IF Mutant = "read-before-write"
  THEN /\ job' = [job EXCEPT ![r] = [phase |-> "to save", read |-> Merged(answers)]]
       /\ UNCHANGED <<saved, confirmed>>
  ELSE /\ saved' = Merged(answers)
       /\ confirmed' = confirmed \cup Confirming(answers)
       /\ job' = [job EXCEPT ![r] = [phase |-> "saved", read |-> {}]]

\* For the mutant: it has read first, and writes now what it was to write.
SaveLate(r) ==
  /\ job[r].phase = "to save"
  /\ saved' = saved \cup job[r].read
  /\ confirmed' = confirmed \cup Confirming(job[r].read)
  /\ job' = [job EXCEPT ![r].phase = "read"]
  /\ UNCHANGED <<row, known, broker, handlers, faults>>

InMemory(r) == known[r] \X {"confirmed"}

\* An answer that is written: a rejection, or a confirmation of a message that is in no
\* window.
HearAndSave(r, a) ==
  /\ job[r] = Idle
  /\ a \in receipts
  /\ receipts' = receipts \ {a}
  /\ IF Mutant = "reject-for-all" /\ a[2] = "rejected"
     THEN /\ row' = IF row = "pending" THEN "rejected" ELSE row
          /\ UNCHANGED <<saved, confirmed, job>>
     ELSE /\ Save(r, InMemory(r) \cup {a})
          /\ UNCHANGED row
  /\ UNCHANGED <<known, copies, handlers, faults>>

\* Some are late, or one asks for another copy: the message leaves the window.
Park(r) ==
  /\ job[r] = Idle
  /\ known[r] # {}
  /\ Save(r, InMemory(r))
  /\ known' = [known EXCEPT ![r] = {}]
  /\ UNCHANGED <<row, broker, handlers, faults>>

\* Who has written reads what all have answered.
Read(r) ==
  /\ job[r].phase = "saved"
  /\ job' = [job EXCEPT ![r] = [phase |-> "read", read |-> saved]]
  /\ UNCHANGED <<database, known, broker, handlers, faults>>

\* A sweep, or a new term's, comes by the row.
Resume(r) ==
  /\ Sweeping
  /\ job[r] = Idle
  /\ row = "pending"
  /\ IsComplete(saved)
  /\ job' = [job EXCEPT ![r] = [phase |-> "read", read |-> saved]]
  /\ UNCHANGED <<database, known, broker, handlers, faults>>

\* The row goes, with the answers, or is rejected.  In between others may have answered
\* and persons may have sent it again.
Finish(r) ==
  /\ job[r].phase = "read"
  /\ job' = [job EXCEPT ![r] = Idle]
  /\ CASE Confirming(job[r].read) = Consumers -> row' = "gone" /\ saved' = {}
       [] IsComplete(job[r].read) /\ Confirming(job[r].read) # Consumers ->
            /\ row' = IF row = "pending" THEN "rejected" ELSE row
            /\ UNCHANGED saved
       [] OTHER -> UNCHANGED <<row, saved>>
  /\ UNCHANGED <<confirmed, known, broker, handlers, faults>>

\* A relay is gone, with all that it remembers, and another one begins.
RestartRelay(r) ==
  /\ Fault
  /\ known' = [known EXCEPT ![r] = {}]
  /\ job' = [job EXCEPT ![r] = Idle]
  /\ UNCHANGED <<database, broker, handlers>>

\* A person sends it again: those that have rejected are asked again.
Resend ==
  /\ row = "rejected"
  /\ Fault
  /\ row' = "pending"
  /\ saved' = IF Mutant = "ask-all-again" THEN {} ELSE saved \ (Consumers \X {"rejected"})
  /\ UNCHANGED <<confirmed, relays, broker, handlers>>

-----------------------------------------------------------------------------
Next ==
  \/ Send                     \* code: relay/publish.go send; relay/copies.go resendOverdue
  \/ Resend                   \* code: store/operator.go Resend
  \/ \E c \in Consumers :
       \/ Handle(c)           \* code: inbox/apply.go transact; inbox/outcome.go settle
       \/ Refuse(c)           \* code: inbox/outcome.go failed, reject
       \/ LoseCopy(c)         \* code: broker/memory/fault.go SetFaults
       \/ \E r \in Relays :
            HearInWindow(r, c)  \* code: relay/consumers.go hears, confirm
  \/ \E a \in Answers :
       \/ LoseReceipt(a)      \* code: broker/memory/fault.go SetFaults
       \/ RepeatReceipt(a)    \* code: relay/receipts.go untrackedReceipts
       \/ \E r \in Relays :
            HearAndSave(r, a) \* code: relay/receipts.go classifyNamed; relay/consumers.go rejectOf, note; store/confirmed.go SaveAnswers
  \/ \E r \in Relays :
       \/ Park(r)             \* code: relay/straggler.go park, late; relay/receipts.go settleOne
       \/ Read(r)             \* code: relay/consumers.go readAnswers; store/confirmed.go Answers
       \/ Resume(r)           \* code: relay/straggler.go resume; relay/sweep.go adopt, fetchMissed
       \/ Finish(r)           \* code: relay/consumers.go finish; store/confirmed.go DeleteAnswered; relay/rows.go reject
       \/ RestartRelay(r)     \* code: relay/term.go newTerm
       \/ SaveLate(r)         \* code: relay/consumers.go note

\* Nothing that can be done is put off for ever, and nothing has to go wrong.  A receipt
\* waits for others that came before it, but has its turn (SF).
Fairness ==
  /\ WF_vars(Send)
  /\ \A c \in Consumers : WF_vars(Handle(c) \/ Refuse(c))
  /\ \A a \in Answers :
       SF_vars(\E r \in Relays : HearAndSave(r, a) \/ (a[2] = "confirmed" /\ HearInWindow(r, a[1])))
  /\ \A r \in Relays :
       WF_vars(Park(r)) /\ WF_vars(Read(r)) /\ WF_vars(Resume(r)) /\ WF_vars(Finish(r)) /\ WF_vars(SaveLate(r))

Safety == Init /\ [][Next]_vars
Spec == Safety /\ Fairness

\* Neither consumers nor relays differ; for TLC, where only invariants are checked.
Alike == Permutations(Consumers) \cup Permutations(Relays)

-----------------------------------------------------------------------------
(* The promises.                                                           *)

\* The row stays until the message has taken effect with each of them.
GoneAfterAll == row = "gone" => effects = Consumers

\* One that rejects takes nothing from the others.
RejectedAfterAll == row = "rejected" => effects \cup refused = Consumers

\* A confirmation is not taken back: its consumer is not asked again and again, and what
\* all have done is not called rejected.
ConfirmationsStay ==
  row # "gone" => \A c \in confirmed : <<c, "confirmed">> \in saved

\* If faults come to an end the row goes, or a person is told who has rejected.
EventuallySettled == <>[](row # "pending")
=============================================================================
