package servertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// Access is who may connect to a server, and how.
type Access struct {
	// Open returns the adapter's Broker.
	Open Open
	// Plain and TLS are addresses of one server, with a user and the right password,
	// without and with TLS. TLS has no parameter ca: whom to trust is up to Test.
	Plain, TLS string
}

// AccessTo is the access to the server whose addresses are in the variable, such as
// WAYBILL_TEST_RABBITMQ, and in the one with _TLS at its end.
func AccessTo(t testing.TB, variable string, open Open) Access {
	t.Helper()
	return Access{Open: open, Plain: testserver.Address(t, variable), TLS: testserver.Address(t, variable+"_TLS")}
}

// Test checks that messages come and go over TLS, and that a wrong authority, name, user
// or password is ErrRefused. Neither the error nor a Broker that is printed shows a
// password.
func (a Access) Test(t *testing.T) {
	authority := testserver.Address(t, "WAYBILL_TEST_CA")
	trusted := change(t, a.TLS, func(_ *url.URL, query url.Values) { query.Set("ca", authority) })
	t.Run("over TLS messages come and go", func(t *testing.T) { a.works(t, trusted) })

	const wrong = "wr0ng-w0rd"
	user := func(name, password string) func(u *url.URL, _ url.Values) {
		return func(u *url.URL, _ url.Values) { u.User = url.UserPassword(name, password) }
	}
	u, err := url.Parse(a.Plain)
	if err != nil {
		t.Fatal(err)
	}
	name := u.User.Username()
	right, _ := u.User.Password()
	for _, c := range []struct {
		who     string
		address string
	}{
		{"trusts the system's authorities alone", a.TLS},
		{"trusts another authority", change(t, trusted, func(_ *url.URL, query url.Values) {
			query.Set("ca", NewAuthority(t, "other").File)
		})},
		{"expects another name", change(t, trusted, func(_ *url.URL, query url.Values) { query.Set("server_name", "other.example") })},
		{"has a wrong password", change(t, a.Plain, user(name, wrong))},
		{"has a wrong password over TLS", change(t, trusted, user(name, wrong))},
		{"is not known", change(t, a.Plain, user("nobody", right))},
		{"has an empty password", change(t, a.Plain, user(name, ""))},
		{"does not log in", change(t, a.Plain, func(u *url.URL, _ url.Values) { u.User = nil })},
	} {
		t.Run("a client that "+c.who+" is refused", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
			defer cancel()
			b := a.Open(t, c.address)
			if shown := fmt.Sprintf("%v %+v %#v", b, b, b); strings.Contains(shown, wrong) || strings.Contains(shown, right) {
				t.Errorf("a Broker that is printed shows a password: %s", shown)
			}
			conn, err := b.Connect(ctx)
			if err == nil {
				_ = conn.Close(ctx)
			}
			if !errors.Is(err, broker.ErrRefused) {
				t.Errorf("Connect: %v; want ErrRefused", err)
			}
			if err != nil && (strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), right)) {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// works checks that messages can be sent and received.
func (a Access) works(t *testing.T, address string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
	defer cancel()
	c := connect(ctx, t, a.Open(t, address))
	queue := "access-" + waybill.NewID().String()
	publish(ctx, t, c, queue)
	r, deliveries := receive(ctx, t, c, queue)
	if string(deliveries[0].Body) != queue {
		t.Errorf("received %q, want %q", deliveries[0].Body, queue)
	}
	if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}
