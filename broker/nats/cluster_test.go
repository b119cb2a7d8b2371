package nats_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

// cluster is three nats-servers of a test's own, whose JetStream is one.
type cluster struct {
	testing.TB
	servers []*process
}

// newCluster returns when the cluster makes streams.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	binary := testserver.Program(t, "nats-server", "nats")
	const size = 3
	ports := freePorts(t, 2*size)
	var routes []string
	for _, port := range ports[size:] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	c := &cluster{TB: t}
	for i := range size {
		s := &process{binary: binary, dir: t.TempDir(), port: ports[i], cluster: []string{
			"--name", fmt.Sprintf("n%d", i), "--cluster_name", "waybill-test", "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}}
		c.servers = append(c.servers, s)
		t.Cleanup(func() { s.stop(t, syscall.SIGKILL) })
		s.start(t)
	}
	c.until("the servers have found each other", func(ctx context.Context, js jetstream.JetStream) bool {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ready", Subjects: []string{"ready"}, Replicas: size})
		return err == nil
	})
	return c
}

// address is the address that a user gives: all servers, and a copy of each stream on each.
func (c *cluster) address() string {
	var hosts []string
	for _, s := range c.servers {
		hosts = append(hosts, s.address())
	}
	return fmt.Sprintf("nats://%s?replicas=%d", strings.Join(hosts, ","), len(hosts))
}

// until asks the cluster, with the client library, until is returns true.
func (c *cluster) until(what string, is func(ctx context.Context, js jetstream.JetStream) bool) {
	c.Helper()
	hosts, _, _ := strings.Cut(c.address(), "?")
	nc, err := natsgo.Connect(hosts)
	if err != nil {
		c.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !c.try(ctx, js, is) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.Fatalf("not after two minutes: %s", what)
		}
	}
}

// try asks once, for no longer than a second.
func (c *cluster) try(ctx context.Context, js jetstream.JetStream, is func(ctx context.Context, js jetstream.JetStream) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return is(ctx, js)
}

// whole waits until every server has all of a stream, and returns its leader.
func (c *cluster) whole(stream string) (leader *process) {
	c.Helper()
	c.until("every server has all of "+stream, func(ctx context.Context, js jetstream.JetStream) bool {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return false
		}
		state := s.CachedInfo().Cluster
		if state == nil || len(state.Replicas) != len(c.servers)-1 {
			return false
		}
		for _, replica := range state.Replicas {
			if !replica.Current || replica.Offline {
				return false
			}
		}
		leader = nil
		for _, s := range c.servers {
			if state.Leader == s.cluster[1] {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// at is the server with this address.
func (c *cluster) at(address string) *process {
	c.Helper()
	for _, s := range c.servers {
		if s.address() == address {
			return s
		}
	}
	c.Fatalf("no server of the cluster is at %s", address)
	return nil
}
