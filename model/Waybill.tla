------------------------------ MODULE Waybill ------------------------------
(***************************************************************************)
(* The protocol of Waybill: what producers, relays, a broker and consumers *)
(* do with messages, step by step, with everything that can go wrong       *)
(* between two steps.  README.md beside this file says how to read it, how *)
(* to run it and what it leaves out.                                       *)
(*                                                                         *)
(* A step is what one transaction, one publish, one acknowledgement or one *)
(* statement does: what happens at once or not at all.  TLC tries every    *)
(* order of all steps, so a fault between any two of them is covered.      *)
(*                                                                         *)
(* Each action of Next carries a comment, "code:", with the Go code that   *)
(* it stands for; model_test.go checks that this code exists.              *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Last,         \* messages are 1..Last, in the order of their ids
  Level,        \* what the consumer guards: "Once" or "Latest"
  Relays,       \* relays; all of them lead at the same time
  Consumers,    \* workers of one consumer
  RelayMemory,  \* FALSE: relays remember nothing and send any row at any time
  MaxFaults,    \* how often something goes wrong; Unbounded: without end
  Refusals,     \* whether handlers may give a message up
  Forgetting,   \* whether the consumer prunes its records; those of Latest stay
  MaxSkew,      \* how far the order of ids may differ from the order of sending
  Mutant        \* a fault planted in the protocol; "none" for what is built

Message == 1..Last
Unbounded == 99

VARIABLES
  \* The producer's database.
  tx,        \* of each message, the transaction of its business change
  row,       \* of each message, its row of qmessage, as committed
  place,     \* of each message, the order in which it was inserted: qmessage.id,
             \* and within a key also sequence and time_stamp
  origin,    \* of each message, the business change that it tells of
  late,      \* messages that were committed below a floor that had been read
  \* The relays' memory.
  cursor,    \* of each relay, up to where it has read
  inflight,  \* of each relay, the messages that it has sent and waits for
  told,      \* the highest floor that was read and may have been told; 0: none
  \* The broker.
  net,       \* messages on their way
  receipts,  \* receipts on their way
  \* The consumer's database.
  records,   \* n1_record or n2_record: ids of recorded messages
  horizon,   \* n_horizon: ids below it are forgotten
  effects,   \* what handlers have committed, in order
  \* The consumer's workers.
  job,       \* of each worker, what it is doing
  faults     \* how much has gone wrong

producer == <<tx, row, place, origin, late>>
memory == <<cursor, inflight, told>>
broker == <<net, receipts>>
ledger == <<records, horizon, effects>>
vars == <<producer, memory, broker, ledger, job, faults>>

Idle == [phase |-> "idle", id |-> 0, outcome |-> "none"]

Outcome == {"done", "rejected", "forgotten"}

TypeOK ==
  /\ tx \in [Message -> {"none", "open", "committed", "rolled back"}]
  /\ row \in [Message -> {"none", "pending", "rejected", "forgotten", "gone", "renamed"}]
  /\ place \in [Message -> 0..Last]
  /\ origin \in [Message -> Message]
  /\ late \subseteq Message
  /\ cursor \in [Relays -> 0..Last]
  /\ inflight \in [Relays -> SUBSET Message]
  /\ told \in 0..Last + 1
  /\ net \subseteq Message
  /\ receipts \subseteq Message \X Outcome
  /\ records \subseteq Message
  /\ horizon \in 0..Last + 1
  /\ effects \in Seq(Message)
  /\ job \in [Consumers ->
       [phase : {"idle", "guarded", "checked", "settled", "acked"},
        id : 0..Last, outcome : Outcome \cup {"none"}]]
  /\ faults \in 0..Unbounded

Init ==
  /\ tx = [m \in Message |-> "none"]
  /\ row = [m \in Message |-> "none"]
  /\ place = [m \in Message |-> 0]
  /\ origin = [m \in Message |-> m]
  /\ late = {}
  /\ cursor = [r \in Relays |-> 0]
  /\ inflight = [r \in Relays |-> {}]
  /\ told = 0
  /\ net = {}
  /\ receipts = {}
  /\ records = {}
  /\ horizon = 0
  /\ effects = <<>>
  /\ job = [c \in Consumers |-> Idle]
  /\ faults = 0

-----------------------------------------------------------------------------
Minimum(S) == CHOOSE x \in S : \A y \in S : x <= y
Maximum(S) == CHOOSE x \in S : \A y \in S : x >= y

Pending == {m \in Message : row[m] = "pending"}

\* Only the records of Once are pruned, and only Once asks for the horizon.  So with
\* Latest floor and horizon change nothing, and are left alone.
Forgets == Forgetting /\ (Level = "Once" \/ Mutant = "prune-latest")

\* Something goes wrong: a conjunct of every such action.
Fault ==
  IF MaxFaults = Unbounded
  THEN UNCHANGED faults
  ELSE faults < MaxFaults /\ faults' = faults + 1

-----------------------------------------------------------------------------
(* The producer.                                                           *)

\* Send inserts the row in the caller's transaction.  With Latest all messages
\* have one key, whose row of qmessage_key stays locked to the end of the
\* transaction.  Ids are minted by the clocks of several hosts, and for later where a
\* message is delayed: they follow the order of sending as far as MaxSkew tells.
Send(m) ==
  /\ tx[m] = "none"
  /\ Level = "Latest" => \A k \in Message : tx[k] # "open"
  /\ \A k \in Message : k < m - MaxSkew => tx[k] # "none"
  /\ tx' = [tx EXCEPT ![m] = "open"]
  /\ row' = IF Mutant = "send-outside-transaction" THEN [row EXCEPT ![m] = "pending"] ELSE row
  /\ place' = [place EXCEPT ![m] = Cardinality({k \in Message : place[k] > 0}) + 1]
  /\ UNCHANGED <<origin, late, memory, broker, ledger, job, faults>>

\* The business change and its message become visible together, in any order
\* with other transactions: a relay may have read past this row's place.
Commit(m) ==
  /\ tx[m] = "open"
  /\ tx' = [tx EXCEPT ![m] = "committed"]
  /\ row' = IF Mutant = "send-outside-transaction" THEN row ELSE [row EXCEPT ![m] = "pending"]
  /\ late' = IF m < told THEN late \cup {m} ELSE late
  /\ UNCHANGED <<place, origin, memory, broker, ledger, job, faults>>

Rollback(m) ==
  /\ tx[m] = "open"
  /\ tx' = [tx EXCEPT ![m] = "rolled back"]
  /\ UNCHANGED <<row, place, origin, late, memory, broker, ledger, job, faults>>

\* A person sends again what a consumer has rejected, at any time.  The id stays, and
\* its place: what is below a floor that was read is late then.
Resend(m) ==
  /\ row[m] \in {"rejected", "forgotten"}
  /\ IF \/ Mutant = "resend-as-new"
        \/ Mutant = "resend-forgotten-as-new" /\ row[m] = "forgotten"
     THEN /\ \E n \in Message :
               /\ tx[n] = "none"
               /\ \A k \in Message : tx[k] # "none" => k < n \* it is minted now
               /\ tx' = [tx EXCEPT ![n] = "committed"]
               /\ row' = [row EXCEPT ![m] = "renamed", ![n] = "pending"]
               /\ place' = [place EXCEPT ![n] = place[m]]
               /\ origin' = [origin EXCEPT ![n] = origin[m]]
          /\ UNCHANGED late
     ELSE /\ row' = [row EXCEPT ![m] = "pending"]
          /\ late' = IF m < told THEN late \cup {m} ELSE late
          /\ UNCHANGED <<tx, place, origin>>
  /\ UNCHANGED <<memory, broker, ledger, job, faults>>

-----------------------------------------------------------------------------
(* The relays.  Nothing that they remember carries a promise.              *)

Publish(m) ==
  /\ net' = net \cup {m}
  /\ row' = IF Mutant = "delete-on-publish" THEN [row EXCEPT ![m] = "gone"] ELSE row
  /\ UNCHANGED <<tx, place, origin, late, told, receipts, ledger, job, faults>>

\* The next visible row after the cursor.
ScanAhead(r) ==
  /\ RelayMemory
  /\ \E m \in Pending :
       /\ place[m] > cursor[r]
       /\ \A k \in Pending : place[k] > cursor[r] => place[m] <= place[k]
       /\ cursor' = [cursor EXCEPT ![r] = place[m]]
       /\ inflight' = [inflight EXCEPT ![r] = @ \cup {m}]
       /\ Publish(m)

\* A row that the cursor passed before it was visible, or that was forgotten,
\* postponed or sent again by a person.
Sweep(r, m) ==
  /\ RelayMemory
  /\ Mutant # "cursor-without-sweep"
  /\ m \in Pending /\ place[m] <= cursor[r] /\ m \notin inflight[r]
  /\ inflight' = [inflight EXCEPT ![r] = @ \cup {m}]
  /\ Publish(m)
  /\ UNCHANGED cursor

\* A copy of what has no receipt.
SendAgain(r, m) ==
  /\ RelayMemory
  /\ Mutant # "no-resend"
  /\ m \in Pending \cap inflight[r]
  /\ Publish(m)
  /\ UNCHANGED <<cursor, inflight>>

\* Any relay at any time, whatever it remembers: all of the above and more.
SendAny(m) ==
  /\ ~RelayMemory
  /\ m \in Pending
  /\ Publish(m)
  /\ UNCHANGED <<cursor, inflight>>

\* The lowest pending id, which then travels with copies, however long.  The
\* consumer may know it as soon as it is read: that is the worst case.  A relay reads
\* it before it sends anything, and where nothing is pending it tells the lowest id
\* of all: 0 here.
ReadFloor ==
  /\ Forgets
  /\ Pending # {}
  /\ told' = Maximum({told, Minimum(Pending)})
  /\ told' # told
  /\ UNCHANGED <<producer, cursor, inflight, broker, ledger, job, faults>>

\* What a receipt does to the row.
Settle(m, outcome) ==
  /\ row' = CASE outcome = "done" /\ row[m] \in {"pending", "rejected", "forgotten"} -> [row EXCEPT ![m] = "gone"]
              [] outcome \in {"rejected", "forgotten"} /\ row[m] = "pending" -> [row EXCEPT ![m] = outcome]
              [] OTHER -> row
  /\ inflight' = [r \in Relays |-> inflight[r] \ {m}]
  /\ UNCHANGED <<tx, place, origin, late, cursor, told, net, ledger, job>>

TakeReceipt(m, outcome) ==
  /\ <<m, outcome>> \in receipts
  /\ receipts' = receipts \ {<<m, outcome>>}
  /\ Settle(m, outcome)
  /\ UNCHANGED faults

\* A relay is gone and another one begins, from any cursor that was stored.
RestartRelay(r) ==
  /\ RelayMemory
  /\ Fault
  /\ inflight' = [inflight EXCEPT ![r] = {}]
  /\ \E stored \in 0..cursor[r] : cursor' = [cursor EXCEPT ![r] = stored]
  /\ UNCHANGED <<producer, told, broker, ledger, job>>

-----------------------------------------------------------------------------
(* The broker.  It keeps what it has in no order, hands a message to any   *)
(* worker and to several of them, and may lose anything.                   *)

LoseMessage(m) ==
  /\ m \in net
  /\ Fault
  /\ net' = net \ {m}
  /\ UNCHANGED <<producer, memory, receipts, ledger, job>>

LoseReceipt(m, outcome) ==
  /\ <<m, outcome>> \in receipts
  /\ Fault
  /\ receipts' = receipts \ {<<m, outcome>>}
  /\ UNCHANGED <<producer, memory, net, ledger, job>>

\* A receipt is handled and comes again.
RepeatReceipt(m, outcome) ==
  /\ <<m, outcome>> \in receipts
  /\ Fault
  /\ Settle(m, outcome)
  /\ UNCHANGED receipts

\* Its disk is lost.
Wipe ==
  /\ net # {} \/ receipts # {}
  /\ Fault
  /\ net' = {} /\ receipts' = {}
  /\ UNCHANGED <<producer, memory, ledger, job>>

-----------------------------------------------------------------------------
(* The consumer.  A worker goes through these phases:                      *)
(*   guarded   its transaction holds a new record and the record's lock;   *)
(*   checked   with Once, the message is not below the horizon either;     *)
(*   settled   the transaction has ended, and the outcome is known;        *)
(*   acked     the broker was told.                                        *)

\* Newer means (time stamp, id) greater.  A time stamp comes from the key's row,
\* so it follows the order of commits.
Stamp(m) == IF Mutant = "skewed-clock-timestamps" THEN m ELSE place[m]

Newer(m, k) == Stamp(m) > Stamp(k) \/ (Stamp(m) = Stamp(k) /\ m > k)

Fresh(m) ==
  CASE Mutant = "no-record"       -> TRUE
    [] Mutant = "unguarded-upsert" -> m \notin records
    [] Level = "Once"             -> m \notin records
    [] OTHER                      -> \A k \in records : Newer(m, k)

\* Whether another transaction holds a record that is the message's: with Once
\* records are by id, with Latest by key.
Locked(m) ==
  \E c \in Consumers :
    job[c].phase \in {"guarded", "checked"} /\ (Level = "Latest" \/ job[c].id = m)

\* A worker receives a message and writes its record, which waits for others that
\* write the same one.  Not fresh: nothing is to be done, and that is an outcome.
Guard(c, m) ==
  /\ job[c] = Idle
  /\ m \in net
  /\ Locked(m) => Mutant = "guard-outside-transaction"
  /\ job' = [job EXCEPT ![c] =
       IF Fresh(m)
       THEN [phase |-> IF Forgets THEN "guarded" ELSE "checked", id |-> m, outcome |-> "none"]
       ELSE [phase |-> "settled", id |-> m, outcome |-> "done"]]
  /\ net' = IF Mutant = "ack-before-commit" THEN net \ {m} ELSE net
  /\ receipts' = IF Mutant = "receipt-before-commit" THEN receipts \cup {<<m, "done">>} ELSE receipts
  /\ UNCHANGED <<producer, memory, ledger, faults>>

\* The horizon is read after the record was written: a record that was missing
\* because it had been pruned shows its horizon here.  Below it the transaction is
\* rolled back.
Check(c) ==
  /\ job[c].phase = "guarded"
  /\ job' = [job EXCEPT ![c] =
       IF job[c].id < horizon /\ Mutant # "no-horizon"
       THEN [@ EXCEPT !.phase = "settled", !.outcome = "forgotten"]
       ELSE [@ EXCEPT !.phase = "checked"]]
  /\ UNCHANGED <<producer, memory, broker, ledger, faults>>

\* The handler's effect and the record become visible together.
Handle(c) ==
  LET m == job[c].id IN
  /\ job[c].phase = "checked"
  /\ records' = IF Level = "Once" THEN records \cup {m} ELSE {m}
  /\ effects' = Append(effects, origin[m])
  /\ job' = [job EXCEPT ![c].phase = "settled", ![c].outcome = "done"]
  /\ UNCHANGED <<producer, memory, broker, horizon, faults>>

\* The handler gives the message up: the transaction is rolled back.
Refuse(c) ==
  /\ Refusals
  /\ job[c].phase = "checked"
  /\ job' = [job EXCEPT ![c].phase = "settled", ![c].outcome = "rejected"]
  /\ UNCHANGED <<producer, memory, broker, ledger, faults>>

\* The handler fails, and the message is to come again: acknowledged, postponed by a
\* receipt and found again by a relay.  (Where that receipt is lost, the message is
\* sent again all the same, so its way is not a step of its own.)
Fail(c) ==
  /\ job[c].phase = "checked"
  /\ Fault
  /\ net' = net \ {job[c].id}
  /\ inflight' = [r \in Relays |-> inflight[r] \ {job[c].id}]
  /\ job' = [job EXCEPT ![c] = Idle]
  /\ UNCHANGED <<producer, cursor, told, receipts, ledger>>

Acknowledge(c) ==
  /\ job[c].phase = "settled"
  /\ net' = net \ {job[c].id}
  /\ job' = [job EXCEPT ![c].phase = "acked"]
  /\ UNCHANGED <<producer, memory, receipts, ledger, faults>>

\* The acknowledgement is lost, or there was another copy: one stays.
LoseAcknowledgement(c) ==
  /\ job[c].phase = "settled"
  /\ Fault
  /\ job' = [job EXCEPT ![c].phase = "acked"]
  /\ UNCHANGED <<producer, memory, broker, ledger>>

Answer(c) ==
  /\ job[c].phase = "acked"
  /\ receipts' = receipts \cup {<<job[c].id, job[c].outcome>>}
  /\ job' = [job EXCEPT ![c] = Idle]
  /\ UNCHANGED <<producer, memory, net, ledger, faults>>

\* A worker dies between any two steps, and an open transaction with it.
Crash(c) ==
  /\ job[c] # Idle
  /\ Fault
  /\ job' = [job EXCEPT ![c] = Idle]
  /\ UNCHANGED <<producer, memory, broker, ledger>>

-----------------------------------------------------------------------------
(* Forgetting.                                                             *)

\* What the horizon may rise to: the floor, and nothing that is younger than the
\* retention.  When that is over nobody knows, so it rises at any time; but what
\* is not even sent is younger.
MayForget ==
  LET young == {m \in Message : tx[m] = "none"} \cup {Last + 1} IN
  IF Mutant = "prune-without-floor" \/ (Mutant = "floor-missing" /\ told = 0)
  THEN Minimum(young)
  ELSE Minimum(young \cup {told})

\* The horizon is committed before the first record below it goes.
SaveHorizon ==
  /\ Forgets
  /\ horizon < MayForget
  /\ horizon' = horizon + 1
  /\ UNCHANGED <<producer, memory, broker, records, effects, job, faults>>

\* A record of Once goes.  (If one of Latest did, a transaction that renews it would
\* hold its lock.)
Forget(m) ==
  /\ Forgets
  /\ m \in records
  /\ m < horizon
  /\ Level = "Latest" => ~Locked(m)
  /\ records' = records \ {m}
  /\ UNCHANGED <<producer, memory, broker, horizon, effects, job, faults>>

-----------------------------------------------------------------------------
Next ==
  \/ \E m \in Message :
       \/ Send(m)                \* code: outbox/outbox.go Send; store/insert.go Insert
       \/ Commit(m)              \* code: outbox/outbox.go InTx
       \/ Rollback(m)            \* code: outbox/outbox.go InTx
       \/ Resend(m)              \* code: store/operator.go Resend; cmd/waybill/resend.go newResendCommand
       \/ SendAny(m)             \* code: relay/publish.go send
       \/ LoseMessage(m)         \* code: broker/memory/fault.go SetFaults
       \/ Forget(m)              \* code: store/prune.go pruneOnce, remove
       \/ \E r \in Relays :
            \/ Sweep(r, m)       \* code: relay/gaps.go add; relay/scan.go lookInGaps, scanDue; relay/sweep.go sweep, fetchMissed
            \/ SendAgain(r, m)   \* code: relay/resend.go overdue; relay/copies.go resendOverdue, sendAgain
       \/ \E c \in Consumers :
            Guard(c, m)          \* code: inbox/apply.go transact; store/guard.go RecordOnce, RecordLatest
       \/ \E o \in Outcome :
            \/ TakeReceipt(m, o)   \* code: relay/receipts.go handle, settleOne; relay/rows.go remove, reject, postpone
            \/ RepeatReceipt(m, o) \* code: relay/receipts.go receive, untrackedReceipts
            \/ LoseReceipt(m, o)   \* code: inbox/receipts.go published; broker/memory/fault.go SetFaults
  \/ \E r \in Relays :
       \/ ScanAhead(r)           \* code: relay/scan.go scanAhead; relay/admission.go admit; relay/publish.go send
       \/ RestartRelay(r)        \* code: relay/term.go newTerm, safeCursor; relay/sweep.go adopt
  \/ \E c \in Consumers :
       \/ Check(c)               \* code: store/guard.go findForgotten
       \/ Handle(c)              \* code: inbox/call.go call; inbox/apply.go transact
       \/ Refuse(c)              \* code: inbox/outcome.go failed, reject
       \/ Fail(c)                \* code: inbox/outcome.go failed
       \/ Acknowledge(c)         \* code: inbox/outcome.go note, settle
       \/ LoseAcknowledgement(c) \* code: inbox/outcome.go settle
       \/ Answer(c)              \* code: inbox/outcome.go settle; inbox/receipts.go add
       \/ Crash(c)               \* code: inbox/worker.go handle; inbox/item.go isGone
  \/ ReadFloor                   \* code: relay/floor.go readFloor, rejectedFloor; store/queue.go FloorBelow; inbox/floor.go note
  \/ SaveHorizon                 \* code: store/prune.go PruneBy
  \/ Wipe                        \* code: broker/memory/control.go Wipe

\* Nothing that can be done is put off for ever.  Senders and persons may stop, and
\* nothing has to go wrong.
Fairness ==
  /\ \A r \in Relays : WF_vars(ScanAhead(r))
  /\ \A r \in Relays, m \in Message : WF_vars(Sweep(r, m)) /\ WF_vars(SendAgain(r, m))
  /\ \A m \in Message, o \in Outcome : WF_vars(TakeReceipt(m, o))
  /\ \A m \in Message : WF_vars(\E c \in Consumers : Guard(c, m))
  /\ \A c \in Consumers :
       WF_vars(Check(c)) /\ WF_vars(Handle(c)) /\ WF_vars(Acknowledge(c)) /\ WF_vars(Answer(c))

Safety == Init /\ [][Next]_vars
Spec == Safety /\ Fairness

\* Workers do not differ; for TLC, where only invariants are checked.
Alike == Permutations(Consumers)

-----------------------------------------------------------------------------
(* The promises.                                                           *)

Applied(m) == \E i \in DOMAIN effects : effects[i] = origin[m]

\* A message has taken effect, or with Latest a newer state of its key has.
TookEffect(m) ==
  \/ Applied(m)
  \/ Level = "Latest" /\ \E i \in DOMAIN effects : place[effects[i]] > place[m]

\* 1. The message exists if and only if the business change committed.
ExistsIffCommitted ==
  /\ \A m \in Message : row[m] # "none" <=> tx[m] = "committed"
  /\ \A i \in DOMAIN effects : tx[effects[i]] = "committed"

\* 2. A committed message takes effect.  As an invariant: its row is there until it
\* has.  As a temporal property, under Fairness: it does, or a person is told.
NothingLost ==
  \A m \in Message : tx[m] = "committed" /\ ~TookEffect(m) => row[m] # "gone"

EventualDelivery ==
  \A m \in Message :
    row[m] = "pending" ~> (TookEffect(m) \/ row[m] \in {"rejected", "forgotten"}) /\ row[m] # "pending"

\* A message is not refused for its age before it took effect, but where the floor had
\* passed it while its transaction was still open, or while its row was rejected and no
\* person had sent it again.
NothingForgottenEarly ==
  \A m \in Message : row[m] = "forgotten" => m \in late

\* 3. The effect happens once.
EffectOnce ==
  \A i, j \in DOMAIN effects : effects[i] = effects[j] => i = j

\* 4. State never goes backwards.
NeverBackwards ==
  Level = "Latest" =>
    \A i, j \in DOMAIN effects : i < j => place[effects[i]] <= place[effects[j]]
=============================================================================
