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
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// Door is how a server lets an adapter's connections in.
type Door struct {
	// Open returns the adapter's Broker.
	Open Open
	// Plain and TLS are addresses of one server, with a user and the right password.
	// TLS does not say whom to trust.
	Plain, TLS string
}

// DoorOf is the door of the server whose addresses are in the variable, such as
// WAYBILL_TEST_RABBITMQ, and in the one with _TLS at its end.
func DoorOf(t testing.TB, variable string, open Open) Door {
	t.Helper()
	return Door{Open: open, Plain: testserver.Address(t, variable), TLS: testserver.Address(t, variable+"_TLS")}
}

// Test tests the door: TLS is what it should be, and nobody gets in who should
// not. Who is refused is told so, by an error without a password; nor does a Broker
// that finds its way into a log show one.
func (d Door) Test(t *testing.T) {
	authority := testserver.Address(t, "WAYBILL_TEST_CA")
	trusted := change(t, d.TLS, func(_ *url.URL, query url.Values) { query.Set("ca", authority) })
	t.Run("over TLS messages come and go", func(t *testing.T) { d.opens(t, trusted) })

	const wrong = "wr0ng-w0rd"
	user := func(name, password string) func(u *url.URL, _ url.Values) {
		return func(u *url.URL, _ url.Values) { u.User = url.UserPassword(name, password) }
	}
	u, err := url.Parse(d.Plain)
	if err != nil {
		t.Fatal(err)
	}
	name := u.User.Username()
	right, _ := u.User.Password()
	for _, c := range []struct {
		who     string
		address string
	}{
		{"who trusts the system's authorities alone", d.TLS},
		{"who trusts another authority", change(t, trusted, func(_ *url.URL, query url.Values) {
			query.Set("ca", NewAuthority(t, "other").File)
		})},
		{"who expects another name", change(t, trusted, func(_ *url.URL, query url.Values) { query.Set("server_name", "other.example") })},
		{"who has a wrong password", change(t, d.Plain, user(name, wrong))},
		{"who has a wrong password over TLS", change(t, trusted, user(name, wrong))},
		{"who is not known", change(t, d.Plain, user("nobody", right))},
		{"who has an empty password", change(t, d.Plain, user(name, ""))},
		{"who does not say who it is", change(t, d.Plain, func(u *url.URL, _ url.Values) { u.User = nil })},
	} {
		t.Run("refused is "+c.who, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b := d.Open(t, c.address)
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

// opens sees to it that messages can be sent and received.
func (d Door) opens(t *testing.T, address string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := connect(ctx, t, d.Open(t, address))
	queue := "door-" + waybill.NewID().String()
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
