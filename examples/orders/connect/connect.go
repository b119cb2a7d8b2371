// Package connect opens the databases and brokers that the two services are started
// with. A service that knows its own needs two lines of it.
package connect

import (
	"database/sql"
	"fmt"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/sqlite"
)

// Database opens postgres://user:password@host/database or sqlite:path.
func Database(address string) (*sql.DB, store.Dialect, error) {
	scheme, path, _ := strings.Cut(address, ":")
	switch scheme {
	case "postgres":
		db, err := sql.Open("pgx", address)
		return db, postgres.Dialect(), err
	case "sqlite":
		// Readers go on beside the one writer, who waits for others instead of failing.
		db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
		return db, sqlite.Dialect(), err
	}
	return nil, nil, fmt.Errorf("no database is called %q: use postgres://user:password@host/database or sqlite:path", scheme)
}

// Listen is where the embedded broker lets the other service in.
const Listen = "127.0.0.1:4222"

// Broker opens amqp1://, stomp:// or nats://user:password@host, or starts
// embedded:directory. Call the function that it returns at the end.
func Broker(address string) (b broker.Broker, end func(), err error) {
	end = func() {}
	scheme, path, _ := strings.Cut(address, ":")
	switch scheme {
	case "amqp1", "amqp1s":
		b, err = amqp1.New(address, nil)
	case "stomp", "stomp+tls":
		b, err = stomp.New(address, nil)
	case "nats", "tls+nats":
		b, err = nats.New(address, nil)
	case "embedded":
		server, failed := embedded.New(path, &embedded.Options{Listen: Listen})
		b, err = server, failed
		end = func() { _ = server.Shutdown() }
	default:
		err = fmt.Errorf("no broker is called %q: use amqp1://, stomp://, nats:// or embedded:directory", scheme)
	}
	return b, end, err
}
