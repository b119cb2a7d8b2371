package address_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
)

// A word of its own on each side of a fuzzed one, so that neither is found in the rest
// of an address by chance: an error that shows half of a password shows a password.
const before, after = "Zq7", "7qZ"

func shows(text string) bool { return strings.Contains(text, before) || strings.Contains(text, after) }

// open returns the error of opening addr, as a database or a broker.
func open(addr string, asBroker bool) error {
	if asBroker {
		if strings.HasPrefix(addr, "embedded:") {
			return nil // would start
		}
		_, err := address.OpenBroker(addr)
		return err
	}
	db, _, err := address.OpenDatabase(addr)
	if err == nil {
		_ = db.Close()
	}
	return err
}

// Whatever stands around a password, and whatever is in it, no error shows it.
func FuzzNoErrorOrRedactionShowsThePassword(f *testing.F) {
	for _, scheme := range []string{
		"postgres", "mysql", "sqlite", "amqp1", "amqp1s", "stomp", "stomp+tls", "activemq", "activemq+tls", "rabbitmq", "rabbitmqs", "nats", "tls+nats", "oracle",
	} {
		f.Add(scheme, "user", "p@ss", "host:x/app", "a=b")
		f.Add(scheme, "user", "a/b", "host/app", "timeout=x&sslmode=x&kind=x&declare=x")
		f.Add(scheme, "us%er", "%zz", "host1,other@host2", "")
		f.Add(scheme, "", "a?b#c", "", "%zz")
	}
	f.Fuzz(func(t *testing.T, scheme, user, word, rest, query string) {
		if strings.ContainsAny(scheme, "/:?@") || strings.ContainsAny(user, ":") || shows(scheme+user+word+rest+query) {
			t.Skip("the password is to stand where one does")
		}
		secret := before + word + after
		for _, addr := range []string{
			scheme + "://" + user + ":" + secret + "@" + rest + "?" + query,
			scheme + "://" + url.UserPassword(user, secret).String() + "@" + rest + "?" + query,
			scheme + "://" + user + ":123?" + secret + "@" + rest + "?" + query,
			scheme + "://" + user + "@" + strings.ReplaceAll(rest, "?", "") + "?password=" + url.QueryEscape(secret) + "&" + query,
		} {
			for _, asBroker := range []bool{false, true} {
				if err := open(addr, asBroker); err != nil && shows(err.Error()) {
					t.Errorf("%q, as a broker %v: got error %v, want one without the password", addr, asBroker, err)
				}
			}
			if got := address.Redact(addr); shows(got) {
				t.Errorf("%q redacted: got %q, want it without the password", addr, got)
			}
		}
	})
}

// An address is opened or refused with an error that says what is wrong; what shows of
// it is the same however often it is redacted.
func FuzzOpen(f *testing.F) {
	for _, seed := range []string{
		"", ":", "sqlite:", "sqlite:a/../b.db", "sqlite::memory:", "sqlite:///x%2f.db", "postgres://host", "postgres:///app?host=/run", "mysql://host/app?tls=x",
		"mysql://u:p@[::1]:3306/app", "amqp1://[::1", "stomp://host?kind=classic", "rabbitmq://host/%2f", "nats://a,b", "nats://a:1,@", "activemq://host?stomp_port=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		for _, asBroker := range []bool{false, true} {
			if err := open(addr, asBroker); err != nil && (!strings.HasPrefix(err.Error(), "waybill: ") || len(err.Error()) > 600+4*len(addr)) {
				t.Errorf("%q: got error %v, want a short one of Waybill", addr, err)
			}
		}
		once := address.Redact(addr)
		if twice := address.Redact(once); twice != once {
			t.Errorf("%q redacted: got %q and then %q, want the same", addr, once, twice)
		}
	})
}
