package address_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const shown = "waybill relay shop@host.example 4711"

func TestPostgreSQLShowsTheNameOfItsConnections(t *testing.T) {
	addr := testserver.Address(t, "WAYBILL_TEST_POSTGRES")
	for _, c := range []struct{ name, addr, environment, want string }{
		{name: shown, addr: addr, want: shown},
		{name: "", addr: addr, want: ""},
		{name: shown, addr: with(t, addr, "application_name", "of the address"), want: "of the address"},
		{name: shown, addr: addr, environment: "of the environment", want: "of the environment"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Setenv("PGAPPNAME", c.environment)
			db, _, err := address.OpenDatabaseAs(c.addr, c.name)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var got string
			if err := db.QueryRowContext(t.Context(), `SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got the connection %q, want %q", got, c.want)
			}
			// The listener's connection beside the pool has it, too.
			ctx, stop := context.WithCancel(t.Context())
			listens, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- address.Listener(c.addr, "named_", c.name)(ctx, sync.OnceFunc(func() { close(listens) }))
			}()
			select {
			case <-listens:
			case err := <-ended:
				t.Fatalf("got the listener's end, %v, want it to listen", err)
			}
			var listeners int
			if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND application_name = $1`, c.want).Scan(&listeners); err != nil {
				t.Fatal(err)
			}
			if listeners != 1 {
				t.Errorf("got %d listeners called %q, want 1", listeners, c.want)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMySQLIsToldTheNameOfItsConnections(t *testing.T) {
	addr := testserver.Address(t, "WAYBILL_TEST_MYSQL")
	for _, c := range []struct{ name, addr, want, not string }{
		{name: shown, addr: addr, want: "program_name$" + shown},
		{name: "", addr: addr, want: "_client_name", not: "program_name"},
		{name: shown, addr: with(t, addr, "connectionAttributes", "team:orders"), want: "program_name$" + shown},
		{name: shown, addr: with(t, addr, "connectionAttributes", "program_name:theirs"), want: "program_name\x06theirs", not: shown},
	} {
		t.Run(c.addr[strings.LastIndexByte(c.addr, '/')+1:]+c.name, func(t *testing.T) {
			through, sent := recorded(t, c.addr)
			db, _, err := address.OpenDatabaseAs(through, c.name)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := sent.String(); !strings.Contains(got, c.want) || c.not != "" && strings.Contains(got, c.not) {
				t.Errorf("got the log-in %q, want %q and not %q in it", got, c.want, c.not)
			}
		})
	}
}

// The brokers take the names; what they show of them, their own tools tell.
func TestBrokersAreToldTheNameOfTheirConnections(t *testing.T) {
	for variable, want := range map[string]string{
		"WAYBILL_TEST_ACTIVEMQ_AMQP1": shown + " ", "WAYBILL_TEST_ACTIVEMQ_STOMP": "client-id:" + shown + " ",
		"WAYBILL_TEST_ARTEMIS_AMQP1": shown + " ", "WAYBILL_TEST_ARTEMIS_STOMP": "client-id:" + shown + " ",
		"WAYBILL_TEST_RABBITMQ": "connection_name", "WAYBILL_TEST_NATS": `"name":"` + shown + `"`, "WAYBILL_TEST_KAFKA": "waybill-relay-shop",
	} {
		t.Run(strings.TrimPrefix(variable, "WAYBILL_TEST_"), func(t *testing.T) {
			addr, sent := recorded(t, testserver.Address(t, variable))
			b, err := address.OpenBrokerAs(addr, shown)
			if err != nil {
				t.Fatal(err)
			}
			// Two at once: names are not refused because another connection has them.
			for range 2 {
				conn, err := b.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			}
			patience.Until(t, "the broker to be told the name", func() bool { return strings.Contains(sent.String(), want) })
			if variable == "WAYBILL_TEST_RABBITMQ" && !strings.Contains(sent.String(), shown) {
				t.Errorf("got the log-in %q, want %q in it", sent.String(), shown)
			}
		})
	}
}

// with is an address with one more parameter.
func with(t *testing.T, addr, name, value string) string {
	t.Helper()
	u, err := url.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// recorder keeps what a client has sent.
type recorder struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.String()
}

// recorded is a server's address that leads through a recorder.
func recorded(t *testing.T, addr string) (string, *recorder) {
	t.Helper()
	u, err := url.Parse(addr)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				defer client.Close()
				conn, err := net.Dial("tcp", server)
				if err != nil {
					t.Error(err)
					return
				}
				connections.Go(func() {
					_, _ = io.Copy(client, conn)
					_ = client.Close()
				})
				_, _ = io.Copy(conn, io.TeeReader(client, r))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		connections.Wait()
	})
	u.Host = l.Addr().String()
	return u.String(), r
}
