// Package waybill is the vocabulary of registered delivery: messages, levels,
// confirmations, receipts and the errors that go with them. The glossary at the end
// explains every word that has a sense of its own here.
//
// A business change and its message commit in one database transaction (package
// outbox). A relay publishes the message, and sends a copy of it again and again until
// a receipt has come back, by which the consumer says that it has committed the
// message's effect (package relay). The consumer writes a record of the message in the
// transaction of the effect. So the effect happens once, and an older state never
// overwrites a newer one (package inbox). No promise depends on the broker: what it
// loses, repeats or reorders costs copies and time.
//
// # Both services
//
// The order service sends the change's message with the transaction that makes the
// change. The shipping service's handler writes with the transaction that has the record
// of the message (the guard). A relay goes between the two. This is the package's example:
//
//	func ship(ctx context.Context, db *sql.DB, out *outbox.Outbox, order string) error {
//		return out.InTx(ctx, db, func(tx *sql.Tx) error {
//			if _, err := tx.ExecContext(ctx, `UPDATE orders SET state = 'shipped' WHERE id = ?`, order); err != nil {
//				return err
//			}
//			return out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: order, Body: []byte("shipped")})
//		})
//	}
//
//	func relayOrders(ctx context.Context, db *sql.DB, b broker.Broker, out *outbox.Outbox) error {
//		r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Wake: out.Committed()})
//		if err != nil {
//			return err
//		}
//		return r.Run(ctx)
//	}
//
//	func keepShipments(ctx context.Context, db *sql.DB, b broker.Broker) error {
//		in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"})
//		if err != nil {
//			return err
//		}
//		in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
//			_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id) VALUES (?)`, m.Key)
//			return err
//		})
//		return in.Run(ctx)
//	}
//
// store.Migrate, or 'waybill init', makes the tables of each side.
//
// # Packages
//
// This package imports the standard library only. The others:
//
//	outbox                      Send and InTx: messages in the transaction of the change
//	relay                       moves rows to a broker, and deletes them when they are receipted
//	inbox                       guards, handlers and receipts
//	admin                       health, metrics and statistics of a relay, over HTTP
//	promwaybill                 collectors for Prometheus' client
//	waybilltest                 for your tests: what was sent, and a world in virtual time
//	otelwaybill                 traces and metrics by OpenTelemetry, in a module of its own
//	store                       the seam to databases, and the engine behind it
//	store/postgres              PostgreSQL's dialect
//	store/postgres/pgxdriver    pgx.Tx for Send, LISTEN for the relay
//	store/mysql                 the dialect of MySQL and MariaDB
//	store/sqlite                SQLite's dialect
//	store/storetest             the suite that every dialect passes
//	broker                      the seam to brokers
//	broker/activemq             the better connector that an ActiveMQ or Artemis offers
//	broker/amqp1                AMQP 1.0: ActiveMQ Classic and Artemis
//	broker/stomp                STOMP 1.2: ActiveMQ Classic and Artemis
//	broker/rabbitmq             AMQP 0-9-1: RabbitMQ
//	broker/nats                 NATS JetStream
//	broker/nats/embedded        NATS JetStream inside the process
//	broker/kafka                Kafka
//	broker/memory               a broker in memory, with faults, for tests
//	broker/brokertest           the suite that every adapter passes
//
// # Compatibility
//
// Before version 1.0, Go names and the command's flags may change with any minor
// version; CHANGELOG.md names each change. Two things stay compatible from the first
// release on: the tables, which a newer version upgrades in place and without losing a
// row, and all that docs/protocol.md documents, on which programs in other languages and
// operators' scripts rely.
//
// # Glossary
//
// The words that this module uses in a sense of its own. docs/concepts/glossary.md has the same.
//
//   - accepted: the setting of a destination whose rows are deleted when the broker has confirmed the message; the other setting is consumed.
//   - adapter: the package that speaks one broker's protocol.
//   - answer: what one of a destination's named consumers has said of a message: confirmed or rejected.
//   - attempt: the number of a copy, 0 for the first.
//   - backlog: rows of one destination that wait in the table because its window was full when they were read.
//   - batch handler: a handler that is given all fresh messages of a transaction at once.
//   - breaker: what pauses a destination by itself where too many of its messages are rejected.
//   - business mark: a message's key: the name of the thing that the message is about, such as an order number.
//   - capabilities: what a database or a broker is declared to be able to do.
//   - checker: what looks for one kind of broken promise after a torture.
//   - condition: what a database's error means: a conflict, a missing table, a database that is away.
//   - confirmation: the broker's answer that it has a message. The consumer's answer is a receipt. A destination's setting Confirm says which of the two deletes a row.
//   - consumed: the setting of a destination whose rows are deleted when the consumer has committed and its receipt has come back; the default.
//   - consumer: a service that handles messages, by the name that all of its processes share.
//   - copy: one sending of a message; all copies carry the message's one id.
//   - crash point: a place in the code at which tests have the process kill itself.
//   - cursor: the highest row id up to which the relay has read.
//   - destination: a queue or a topic, by its name.
//   - dialect: the package that holds one database's SQL.
//   - disposition: what the inbox tells the broker of a message: done, deliver again, or dead letter.
//   - duplicate: a copy of a message that took effect before.
//   - durable: written to the broker's disk; the default transport.
//   - engine: the code that works through a seam and does not know what is behind it: outbox, relay and inbox; in package store, Queue and Ledger, which run the statements of every dialect.
//   - failures: how often handlers have failed with a message, counted in its row.
//   - fate: what is known of a published message: confirmed, refused, unacceptable or unknown.
//   - floor: an id that is not above that of any row of a producer that is pending and due; every message carries it.
//   - foreign producer: a program that publishes messages without asking for receipts. A destination that is set to accepted asks for none either, and its messages are treated alike.
//   - forgotten: below the horizon and without a record, so that nothing can tell whether the message took effect.
//   - fresh: recorded just now, so that the handler is to run.
//   - gap: row ids that the cursor has passed without seeing a row; their transactions may commit later.
//   - guard: the conditional write of a record in the handler's transaction; its answer decides whether the handler runs.
//   - hold: what a dialect does so that only the code that began a transaction can end it.
//   - horizon: an id that a consumer stores for each producer: it may have forgotten the messages with lower ids.
//   - identity: the random word that an outbox's tables have drawn when they were made; its receipt queue's name ends in it.
//   - in-flight: said of a message in a window: its row was read to be sent, and neither a receipt nor the broker has decided yet what becomes of the row.
//   - inbox: the consumer's side: it guards messages, runs handlers and sends receipts.
//   - lane: the relay's part for one destination: its window, its queue and the goroutine that publishes.
//   - latest: the level that drops copies and stale states of each key.
//   - lease: the row that says which relay leads, and until when.
//   - level: what the inbox guards for a destination: once or latest.
//   - mark: what a guard is told of one message: id, producer, destination, key and time stamp.
//   - nemesis: what breaks things in a torture.
//   - nonce: a random number that one guard writes into its records on MySQL and MariaDB, to read back which of them it has written.
//   - once: the level that drops copies and handles every message.
//   - outbox: the producer's table of messages whose receipts have not come yet, and the package that writes into it.
//   - outcome: what a receipt says of a message: done, retry or rejected.
//   - parked: out of its destination's window, because some of its named consumers have answered and others are late.
//   - paused: of a destination: relays send nothing to it, or inboxes take nothing from it, until it is resumed or its time is over.
//   - planted bug: a bug that a build tag puts into the program, to show that a torture finds it.
//   - probe: a copy that is sent to learn whether a consumer whose receipts have stopped is back.
//   - producer: a service that sends messages, and the name of its outbox.
//   - pump: the part of the relay that reads rows and gives them to lanes.
//   - receipt: a consumer's message that tells a producer what became of its messages.
//   - record: a row in which a consumer remembers a message, written in the transaction of its effect.
//   - rejected: given up by the consumer, the broker or the relay; the row stays for a person.
//   - relay: the process, or the part of one, that publishes the outbox's rows, sends copies as long as no receipt has come, and deletes the rows then.
//   - retention: by how much a record must be older than its producer's floor, and than the clock, before it may be forgotten.
//   - route: the inbox's part for one destination: its subscription, its handler and its workers.
//   - seam: a small interface in front of all databases, or of all brokers, so that other code need not know which one it is.
//   - sequence: the number of a message among those of its destination and key, from 1 without gaps; 0 without a key.
//   - slow receipt: a receipt that asks for a retry or rejects: each needs a statement of its own, so it is written beside the receiving of others.
//   - straggler: the lane of a named consumer that is late.
//   - superseded: older than the state that the consumer has of the same key.
//   - sweep: the relay's look over all pending rows up to the cursor for those that everything else has missed.
//   - term: the time for which one relay leads, and what it knows meanwhile.
//   - time stamp: what orders the messages of one destination and key: microseconds by the database's clock, always greater than the last one, or a version of the sender's own.
//   - transient: not written to the broker's disk; what is lost by that is sent again.
//   - try: one run of a handler with a message. After so many tries that failed (MaxTries) the message is rejected.
//   - twin: another relay of the same identity, whose database is a copy of this one's.
//   - verdict: a guard's answer on a mark: fresh, duplicate, superseded or forgotten; also how a demo or a torture ends.
//   - window: the bounded set of one destination's messages that are in flight.
//   - worker: one of a route's goroutines, which handles its share of the messages, a batch in one transaction.
package waybill
