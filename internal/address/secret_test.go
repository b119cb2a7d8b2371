package address_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-go/waybill/broker/activemq"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/kafka"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/redact"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

// wrong are ways to write an address, or not quite; S is the password.
var wrong = []string{
	"://user:S@host/app", "://user:S@", "://user:S@/app", "://:S@host/app", "://user:S@host:port/app", "://user:S@ho st/app",
	"://user?S@host/app", "://user/S@host/app", "://user#S@host/app", "://user:a/S@host/app", "://user:a?S@host/app", "://user:a#S@host/app",
	"://user:a@S@host/app", "://user:S%zz@host/app", "://user:%S@host/app", "://user:[S@host/app", "://us er:S@host/app", "://us%er:S@host/app",
	"://user:S", "://user:S/app", "://user:a/S", "://user:a?S", "://user:a#S", "://user:S:5432/app", "://user:S@host@/app",
	":user:S@host/app", ":/user:S@host/app", ":user/S@host", ":S@host/app",
	"://host/app?S", "://host/app?password=S", "://host/app?Password=S&a=b", "://host/app?sslpassword=S", "://host/app?a=b&password=S%zz", "://host/app?a?password=S",
	"://user:S@host1,host2:x,host3/app", "://user:a,S@host1,host2", "://user:S@host1,user:S@host2", "://user:S@[::1/app", "://user:S@[::1]:x/app",
	"://user:S@host/app?nonsense=1", "://user:S@host?sasl=oauth", "://user:S@host?kind=x", "://user:S@host?tls=x", "://user:S@host?sslmode=x", "://user:S@host?partitions=x",
	" ://user:S@host/app", "://user:S@host/app\n", "://user:S\x00@host/app", "=user:S@host",
}

func TestNoErrorAboutAWrongAddressShowsThePasswordInIt(t *testing.T) {
	const secret = "hunter2"
	kinds := []string{
		"postgres", "postgresql", "mysql", "mariadb", "sqlite", "stomp", "stomp+tls", "amqp1", "amqp1s", "activemq", "activemq+tls",
		"rabbitmq", "rabbitmqs", "nats", "tls+nats", "kafka", "kafka+tls", "oracle", "",
	}
	ended, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, kind := range kinds {
		for _, form := range wrong {
			if kind == "sqlite" && !strings.Contains(form, "//") && !strings.Contains(form, "user:") {
				continue // a file's name
			}
			addr := kind + strings.ReplaceAll(form, "S", secret)
			said := map[string]string{"redacted": address.Redact(addr), "in a message": redact.Message("connect to " + addr)}
			note := func(who string, err error) {
				if err != nil {
					said[who] = err.Error()
				}
			}
			db, _, err := address.OpenDatabase(addr)
			note("OpenDatabase", err)
			if err == nil {
				note("the database", db.PingContext(ended))
				_ = db.Close()
			}
			_, err = address.OpenBroker(addr)
			note("OpenBroker", err)
			_, err = stomp.New(addr, nil)
			note("stomp", err)
			_, err = amqp1.New(addr, nil)
			note("amqp1", err)
			_, err = activemq.New(addr, nil)
			note("activemq", err)
			_, err = rabbitmq.New(addr, nil)
			note("rabbitmq", err)
			_, err = nats.New(addr, nil)
			note("nats", err)
			_, err = kafka.New(addr, nil)
			note("kafka", err)
			if _, err := pgx.ParseConfig(addr); err != nil { // else it would connect
				note("the listener", pgxdriver.Listen(t.Context(), addr, "channel", func() {}))
			}
			for who, text := range said {
				if strings.Contains(text, secret) {
					t.Errorf("%q: %s shows the password: %s", addr, who, text)
				}
			}
		}
	}
}

// A name without a password is shown, as is all that helps to see what is wrong.
func TestWhatIsNoSecretOfAnAddressIsShown(t *testing.T) {
	for addr, want := range map[string]string{
		"postgres://user?password@host/app":              "postgres://user:xxxxx@host/app",
		"postgres://user@host1:5432,host2:5433/app?a=b":  "postgres://user@host1:5432,host2:5433/app?a=b",
		"postgres://user@[::1]:5432/app":                 "postgres://user@[::1]:5432/app",
		"nats://token@host:4222":                         "nats://xxxxx@host:4222",
		"postgres://user:password/app":                   "postgres://user:xxxxx",
		"postgres://host/app?hunter2":                    "postgres://host/app?xxxxx",
		"host=db user=app password=hunter2 dbname=x":     "host=db user=app password=xxxxx",
		"sqlite:/data/a@b/orders.db":                     "sqlite:/data/a@b/orders.db",
		"embedded:a@b":                                   "embedded:a@b",
		"user:hunter2@tcp(db:3306)/app":                  "user:xxxxx@tcp(db:3306)/app",
		"rabbitmq://host/vhost?queue_type=quorum&hunter": "rabbitmq://host/vhost?queue_type=quorum&xxxxx",
	} {
		got := address.Redact(addr)
		if got != want || address.Redact(got) != got {
			t.Errorf("%q: got %q, want %q", addr, got, want)
		}
	}
	for text, want := range map[string]string{
		`send does not take the argument "postgres://u:hunter2@host/app"`: `send does not take the argument "postgres://u:xxxxx@host/app"`,
		"dial tcp 127.0.0.1:5432: connect: connection refused":            "dial tcp 127.0.0.1:5432: connect: connection refused",
		"Error 1045: Access denied for user 'app'@'db' (using password)":  "Error 1045: Access denied for user 'app'@'db' (using password)",
		"see https://example.com:8080/docs: it says more":                 "see https://example.com:8080/docs: it says more",
		"the argument user:hunter2@tcp(db)/app, too":                      "the argument user:xxxxx@tcp(db)/app, too",
	} {
		if got := redact.Message(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	err := redact.Error("postgres://u:hunter2@host", errors.Join(errors.New("no hunter2"), context.Canceled))
	if err == nil || err.Error() != "no xxxxx\ncontext canceled" || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}
