package snippet

import (
	"context"
	"database/sql"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/postgres"
)

// Pool sets the bounds of a pool of connections.
func Pool(db *sql.DB) {
	db.SetMaxOpenConns(40) // below what the server allows to all its clients
	db.SetMaxIdleConns(10) // the default, 2, connects again and again
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(5 * time.Minute) // after a failover the name may lead elsewhere
}

// RunRelay carries the messages of the service "shop" to the broker until ctx ends. Any
// number of processes may run it: one of them leads.
func RunRelay(ctx context.Context, db *sql.DB, brk broker.Broker, out *outbox.Outbox) error {
	r, err := relay.New(db, postgres.Dialect(), brk, &relay.Options{Producer: "shop", Wake: out.Committed()})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// Unsubscribe ends the durable subscription that the consumer shop has of the topic prices.
func Unsubscribe(ctx context.Context, conn broker.Conn) error {
	return conn.(broker.Remover).Remove(ctx, broker.Subscription{Destination: "prices", Topic: true, Group: "shop"})
}
