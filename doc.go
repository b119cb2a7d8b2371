// Package waybill is the vocabulary of registered delivery: messages, levels,
// confirmations, receipts and the errors that go with them.
//
// A business change and its message commit in one database transaction (package
// outbox); the message is sent again until the consumer has committed its effect
// and a receipt has come back (package relay); the effect happens once, and an
// older state never overwrites a newer one (package inbox). No promise rests on
// the broker: what it loses, repeats or reorders costs copies and time.
//
// # Both services
//
// The order service sends the change's message with the transaction that makes the
// change. The shipping service's handler writes with the transaction that remembers the
// message. A relay goes between the two. This is the package's example:
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
// The words that this module uses in a sense of its own. docs/glossary.md has the same.
//
//   - accepted: a destination's rows go with the broker's confirmation; the other way is consumed.
//   - adapter: the package that speaks one broker's protocol.
//   - answer: what one of a destination's named consumers has said of a message: confirmed or rejected.
//   - attempt: the number of a copy, 0 for the first.
//   - backlog: rows of one destination that wait in the table because its window was full when they were read.
//   - business mark: the key: the identity of the thing that a message is about, such as an order number.
//   - capabilities: what a database or a broker is declared to be able to do.
//   - checker: what looks for one kind of broken promise after a torture.
//   - condition: what a database's error means: a conflict, a missing table, a database that is away.
//   - consumed: a destination's rows go when the consumer has committed and its receipt has come back; the default.
//   - consumer: a service that handles messages, by the name that all of its processes share.
//   - copy: one sending of a message; all copies carry the message's one id.
//   - crash point: a place in the code at which tests have the process kill itself.
//   - cursor: the highest row id up to which the relay has read.
//   - destination: a queue or a topic, by its name.
//   - dialect: the package that holds one database's SQL.
//   - disposition: what the inbox tells the broker of a message: done, deliver again, or dead letter.
//   - duplicate: a copy of a message that took effect before.
//   - durable: written to the broker's disk; the default transport.
//   - engine: what runs over the seams: the outbox, the relay and the inbox; in package store, what runs a dialect's statements.
//   - failures: how often handlers have failed with a message, counted in its row.
//   - fate: what is known of a published message: confirmed, refused, unacceptable or unknown.
//   - floor: an id at or below that of the producer's oldest pending row whose time has come; every message tells it.
//   - foreign producer: a program that publishes messages without asking for receipts.
//   - forgotten: below the horizon and without a record, so that nothing can tell whether the message took effect.
//   - fresh: recorded just now, so that the handler is to run.
//   - gap: row ids that the cursor has passed without seeing a row; their transactions may commit later.
//   - guard: the conditional write of a record, in the handler's transaction, that decides whether the handler runs.
//   - horizon: the id below which a consumer may have forgotten a producer's messages.
//   - in-flight: in a window: read to be sent, and not confirmed yet.
//   - inbox: the consumer's side: it guards messages, runs handlers and sends receipts.
//   - lane: the relay's part for one destination: its window, its queue and the goroutine that publishes.
//   - latest: the level that drops copies and stale states of each key.
//   - lease: the row that says which relay leads, and until when.
//   - level: what the inbox guards for a destination: once or latest.
//   - mark: what a guard is told of one message: id, producer, destination, key and time stamp.
//   - nemesis: what breaks things in a torture.
//   - once: the level that drops copies and handles every message.
//   - outbox: the producer's table of unconfirmed messages, and the package that writes into it.
//   - outcome: what a receipt says of a message: done, retry or rejected.
//   - parked: out of its destination's window, because some of its named consumers have answered and others are late.
//   - planted bug: a bug that a build tag puts into the program, to show that a torture finds it.
//   - probe: a copy that is sent to learn whether a silent consumer is back.
//   - producer: a service that sends messages, and the name of its outbox.
//   - pump: the relay's goroutine that reads rows and gives them to lanes.
//   - receipt: a consumer's message that tells a producer what became of its messages.
//   - record: a row in which a consumer remembers a message, written in the transaction of its effect.
//   - rejected: given up by the consumer, the broker or the relay; the row stays for a person.
//   - relay: what publishes the outbox's rows and deletes those that are confirmed.
//   - retention: the least age of a record that may be forgotten.
//   - seam: a small interface behind which databases, or brokers, are alike.
//   - straggler: the lane of a named consumer that is late.
//   - superseded: older than the state that the consumer has of the same key.
//   - sweep: the relay's look over all unconfirmed rows for those that everything else has missed.
//   - term: the time for which one relay leads, and what it knows meanwhile.
//   - transient: not written to the broker's disk; what is lost by that is sent again.
//   - verdict: a guard's answer on a mark: fresh, duplicate, superseded or forgotten; also how a demo or a torture ends.
//   - window: the bounded set of one destination's messages that are in flight.
package waybill
