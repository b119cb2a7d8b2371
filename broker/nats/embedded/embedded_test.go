package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// start starts a server in a directory of the test's own.
func start(t testing.TB, options embedded.Options) *embedded.Broker {
	t.Helper()
	options.AckWait = 2 * time.Second
	b, err := embedded.New(t.TempDir(), &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Shutdown() })
	return b
}

func TestConformance(t *testing.T) {
	b := start(t, embedded.Options{})
	brokertest.Test(t, brokertest.Harness{
		Server: "NATS " + server.VERSION + ", in-process",
		Open:   func(testing.TB) broker.Broker { return b },
		OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
			return b, brokertest.Link{Cut: b.Break}
		},
		Restart: func(t testing.TB) {
			b.Kill()
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		},
		Stop: func(t testing.TB) { b.Kill() },
		Start: func(t testing.TB) {
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
		},
		Goroutines: []string{"nats-server/v2/"},
	})
}

func BenchmarkEmbedded(b *testing.B) {
	for name, options := range map[string]embedded.Options{"by default": {}, "syncing always": {SyncAlways: true}} {
		b.Run(name, func(b *testing.B) {
			e := start(b, options)
			brokertest.Benchmark(b, brokertest.Harness{Open: func(testing.TB) broker.Broker { return e }})
		})
	}
}

func connect(t testing.TB, b broker.Broker) (context.Context, broker.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience.Limit)
	t.Cleanup(cancel)
	c, err := b.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return ctx, c
}

func TestADirectoryHasOneBroker(t *testing.T) {
	b := start(t, embedded.Options{})
	dir := t.TempDir()
	one, err := embedded.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.New(dir, nil)
	if !errors.Is(err, embedded.ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second broker in the directory: %v; want ErrLocked with the directory and the process", err)
	}
	if err := one.Shutdown(); err != nil {
		t.Fatal(err)
	}
	two, err := embedded.New(dir, nil)
	if err != nil {
		t.Fatalf("New after the first has ended: %v; want no error", err)
	}
	if err := two.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Connect(t.Context()); !errors.Is(err, embedded.ErrStopped) {
		t.Errorf("Connect to a broker that is shut down: %v; want ErrStopped", err)
	}
	connect(t, b)
}

func TestAfterAWipeNothingFromBeforeComes(t *testing.T) {
	b := start(t, embedded.Options{})
	for round := range 3 {
		ctx, c := connect(t, b)
		receiver, err := c.Subscribe(ctx, broker.Subscription{Destination: "q", Prefetch: 10})
		if err != nil {
			t.Fatal(err)
		}
		results, err := c.Publish(ctx, []broker.Message{{Destination: "q", Body: []byte(strconv.Itoa(round))}}, waybill.Durable)
		if err != nil || results[0].Fate != broker.Confirmed {
			t.Fatalf("Publish: %v, %v; want confirmed", results, err)
		}
		ds, err := receiver.Receive(ctx, 10)
		if err != nil || len(ds) != 1 || string(ds[0].Body) != strconv.Itoa(round) {
			t.Fatalf("received %v, %v; want %d and nothing from before the loss", ds, err, round)
		}
		published := make(chan error, 1)
		go func() {
			for {
				if _, err := c.Publish(ctx, make([]broker.Message, 0), waybill.Durable); err != nil {
					published <- err
					return
				}
				if _, err := c.Publish(ctx, []broker.Message{{Destination: "other"}}, waybill.Durable); err != nil {
					published <- err
					return
				}
			}
		}()
		if err := b.Wipe(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-published:
			if err == nil {
				t.Error("Publish to a server that was killed returned no error, want one")
			}
		case <-ctx.Done():
			t.Fatal("Publish goes on after its server was killed")
		}
		<-c.Done()
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestItListensOnTheLoopbackInterfaceOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":4222", "192.0.2.1:4222", "127.0.0.1"} {
		t.Run(address, func(t *testing.T) {
			if b, err := embedded.New(t.TempDir(), &embedded.Options{Listen: address}); err == nil {
				_ = b.Shutdown()
				t.Error("it listens, want an error")
			}
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	start(t, embedded.Options{Listen: address})
	outside, err := nats.New("nats://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, outside)
}

func TestADirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file} {
		t.Run(dir, func(t *testing.T) {
			if _, err := embedded.New(dir, nil); err == nil {
				t.Error("it starts, want an error")
			}
		})
	}
}
