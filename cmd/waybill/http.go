package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// listen binds the addresses of --http, so that one that is taken is an error at once.
func listen(ctx context.Context, addrs []string) ([]net.Listener, error) {
	listeners := make([]net.Listener, 0, len(addrs))
	for _, addr := range addrs {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err == nil {
			listeners = append(listeners, l)
			continue
		}
		for _, l := range listeners {
			_ = l.Close()
		}
		var badAddr *net.AddrError
		if errors.As(err, &badAddr) {
			return nil, usagef("--http %q: %w", addr, err)
		}
		return nil, fmt.Errorf("serve --http %s: %w", addr, err)
	}
	return listeners, nil
}

// serve serves a handler at all the listeners, by TLS unless secure is nil, until ctx ends.
// Then it calls ending, and serves what is under way for up to a second.
func serve(ctx context.Context, listeners []net.Listener, secure *tls.Config, handler http.Handler, ending func()) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	var group sync.WaitGroup
	for _, l := range listeners {
		at := slog.String("address", l.Addr().String())
		scheme := "http"
		if secure != nil {
			l, scheme = tls.NewListener(l, secure), "https"
		}
		slog.InfoContext(ctx, "serving health and figures", at, slog.String("page", scheme+"://"+l.Addr().String()+"/"))
		group.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				slog.ErrorContext(ctx, "health and figures are not served any more", at, slog.Any("error", err))
			}
		})
	}
	<-ctx.Done()
	ending()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close()
	}
	group.Wait()
}
