package amqp1

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func TestABrokerOfAnotherProtocolIsToldFromOneThatIsSlow(t *testing.T) {
	for name, c := range map[string]struct{ says, want string }{
		"silence":            {"", "does this port speak AMQP 1.0?"},
		"STOMP":              {"ERROR\nmessage:what?\n\n\x00", `"ERROR\nmessage:what?`},
		"a few bytes":        {"AM", `"AM" and hangs up`},
		"an older AMQP":      {"AMQP\x00\x00\x09\x01", "protocol version"},
		"HTTP in many bytes": {"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			t.Cleanup(func() {
				listener.Close()
				serving.Wait()
			})
			serving.Go(func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if c.says != "" {
					io.WriteString(conn, c.says)
					conn.(*net.TCPConn).CloseWrite()
				}
				io.Copy(io.Discard, conn)
			})
			b, err := New("amqp1://"+listener.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			b.answerTime = 50 * time.Millisecond
			if c.says != "" {
				b.answerTime = time.Minute
			}
			_, err = b.Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Connect: %v; want an error with %q", err, c.want)
			}
		})
	}
}

func TestAWrongPasswordIsSaidToBeOne(t *testing.T) {
	servertest.OnActiveMQ(t, "AMQP1", func(t *testing.T, variable, _ string) {
		u, err := url.Parse(testserver.Address(t, variable))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "wrong")
		b, err := New(u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "does not accept the user and the password") || strings.HasSuffix(err.Error(), ": ") {
			t.Errorf("Connect: %v; want it to say that the password is wrong", err)
		}
	})
}
