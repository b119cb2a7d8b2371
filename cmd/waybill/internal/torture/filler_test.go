package torture

import (
	"context"
	"net/url"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/fault/badnet"
)

// answering is a connection that gives one answer to all messages.
type answering struct {
	broker.Conn
	answer broker.Result
}

func (c answering) Publish(context.Context, []broker.Message, waybill.Transport) ([]broker.Result, error) {
	return []broker.Result{c.answer}, nil
}

func TestADiskIsFullWhereTheBrokerSaysSo(t *testing.T) {
	for _, x := range []struct {
		name   string
		answer broker.Result
		full   bool
	}{
		{"given up", broker.Result{Fate: broker.Refused, Err: context.Canceled}, false},
		{"too late", broker.Result{Fate: broker.Refused, Err: context.DeadlineExceeded}, false},
		{"unknown", broker.Result{Fate: broker.Unknown, Err: context.DeadlineExceeded}, false},
		{"no room", broker.Result{Fate: broker.Refused, Err: broker.ErrNoQueue}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := publishUntilFull(t.Context(), answering{answer: x.answer}, "q"); (err == nil) != x.full {
				t.Errorf("got %v, want a full disk: %v", err, x.full)
			}
		})
	}
}

func TestNothingStaysOfWhatFilledADiskHoweverSlowTheBroker(t *testing.T) {
	at, err := supervisor.BrokerAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server, err := supervisor.StartBroker(t.Context(), at, t.TempDir(), &embedded.Options{MaxStore: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Shutdown() }()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := badnet.Listen(t.Context(), u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	u.Host = proxy.Addr()
	streams := streamNames(t, at)
	n := nemesisOf(&run{name: "x", brokerAddr: u.String(), broker: &process{}})
	n.fail = func(err error) { t.Error(err) }
	slow := func() bool { // once it is full
		if n.injectedSoFar()["disk"] > 0 {
			if err := proxy.Set(badnet.Conditions{Down: badnet.Way{Delay: 1200 * time.Millisecond}}); err != nil {
				t.Error(err)
			}
		}
		return false
	}
	if got := n.strikes(t, "disk", (*nemesis).fillDisk, slow); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	if left := streams(); len(left) != 0 {
		t.Errorf("got the streams %q, want none", left)
	}
}
