package connect

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Run runs a service's parts until ctx ends or one of them fails.
func Run(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make([]error, len(parts))
	var group sync.WaitGroup
	for i, part := range parts {
		group.Go(func() {
			defer cancel()
			failed[i] = part(ctx)
		})
	}
	group.Wait()
	return errors.Join(failed...)
}

// HTTP is a part that answers requests.
func HTTP(address string, handler http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		stop := context.AfterFunc(ctx, func() {
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = server.Shutdown(closing)
		})
		defer stop()
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
