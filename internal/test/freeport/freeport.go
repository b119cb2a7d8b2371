// Package freeport finds ports that stay free while nobody listens at them, for servers
// that go away and come back.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports are below those that systems give to outgoing connections (Linux: 32768 on,
// net.ipv4.ip_local_port_range), and above those of most servers.
const (
	first = 20_000
	count = 12_000
)

// Listen listens at such a port of the loopback interface.
func Listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	var last error
	for range 50 {
		l, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(count)))
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("find a free port: %w", last)
}
