package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

const relayHelp = `Run a relay: it moves committed messages from the outbox to the broker, sends again
what is not receipted, and removes what is.

One relay leads an outbox; any number of others stand by and take over within the
time of the lease. A database or broker that is away is waited for, at start and at
any time, and the log says so. SIGINT or SIGTERM lets it finish what is under way,
within five seconds; a second one ends it at once. Nothing is lost either way.

--http serves
  /healthz   200 while the process lives
  /readyz    200 while it leads and is connected, or stands by for another relay
  /metrics   figures for Prometheus, names that begin with waybill_
  /stats     the same as JSON

An embedded broker serves one process at a time: a consumer in another process cannot
receive while "waybill relay --broker embedded:DIR" runs. Use the library in one
process, or a broker that is a server.`

const relayExample = `  waybill relay --db postgres://app:secret@localhost/app --broker amqp1://app:secret@localhost
  waybill relay --producer orders --http :9090
  waybill relay --transient orders,stock        # the relay, not the broker's disk, keeps these safe
  waybill relay --accepted mails                # for a consumer that knows nothing of Waybill
  waybill relay --consumers prices=shop,audit   # a topic: both must have confirmed before a row goes`

type relayFlags struct {
	o                   relay.Options
	http                []string
	transient, accepted []string
	consumers           []string
}

func newRelayCommand(o *options) *cobra.Command {
	var f relayFlags
	cmd := &cobra.Command{
		Use:     "relay",
		Short:   "Move messages from the outbox to the broker",
		Long:    relayHelp,
		Example: relayExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRelay(cmd.Context(), o, &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.o.Producer, "producer", "waybill", "`name` of this outbox: receipts come back on the queue ack.NAME")
	flags.StringArrayVar(&f.http, "http", nil, "serve health and figures on this `address`, such as :9090; may be repeated")
	flags.StringSliceVar(&f.transient, "transient", nil, "`destinations` whose messages the broker need not write to its disk; * for all")
	flags.StringSliceVar(&f.accepted, "accepted", nil, "`destinations` whose rows go when the broker has the message, without receipts; * for all")
	flags.StringArrayVar(&f.consumers, "consumers", nil, "`TOPIC=NAME,NAME`: all these consumers must confirm; otherwise the first to confirm suffices; may be repeated")
	flags.IntVar(&f.o.Window, "window", 10_000, "most messages per destination that are sent and not confirmed")
	flags.IntVar(&f.o.Batch, "batch", 500, "most messages read or published at once")
	flags.DurationVar(&f.o.Lease, "lease", 15*time.Second, "how long a relay that died keeps others waiting")
	flags.DurationVar(&f.o.Poll, "poll", 500*time.Millisecond, "longest time between two looks at an idle table")
	flags.DurationVar(&f.o.MinResend, "min-resend", time.Second, "least time after which a message without a receipt is sent again")
	flags.DurationVar(&f.o.MaxResend, "max-resend", time.Minute, "greatest such time")
	return cmd
}

// relayOptions adds to the flags what follows from them.
func (f *relayFlags) relayOptions(o *options, d *database) (*relay.Options, error) {
	ro := f.o
	ro.TablePrefix = o.prefix
	ro.Logger = slog.Default()
	ro.Destinations = map[string]relay.Destination{}
	each := func(names []string, set func(*relay.Destination)) {
		for _, name := range names {
			if name == "*" {
				set(&ro.Default)
				continue
			}
			x := ro.Destinations[name]
			set(&x)
			ro.Destinations[name] = x
		}
	}
	each(f.transient, func(x *relay.Destination) { x.Transport = waybill.Transient })
	each(f.accepted, func(x *relay.Destination) { x.Confirm = waybill.Accepted })
	for _, value := range f.consumers {
		topic, names, _ := strings.Cut(value, "=")
		if topic == "" || topic == "*" || names == "" {
			return nil, usagef("--consumers %.80q is not TOPIC=NAME,NAME", value)
		}
		x, known := ro.Destinations[topic]
		if !known {
			x = ro.Default
		}
		x.Consumers = append(x.Consumers, strings.Split(names, ",")...)
		ro.Destinations[topic] = x
	}
	for _, v := range []struct {
		flag string
		bad  bool
	}{
		{"window", ro.Window <= 0}, {"batch", ro.Batch <= 0}, {"lease", ro.Lease <= 0},
		{"poll", ro.Poll <= 0}, {"min-resend", ro.MinResend <= 0}, {"max-resend", ro.MaxResend <= 0},
	} {
		if v.bad {
			return nil, usagef("--%s has to be above 0", v.flag)
		}
	}
	if d.dialect.Name() == postgres.Dialect().Name() {
		ro.Listen = pgxdriver.Listener(o.db, postgres.Channel(o.prefix))
	}
	return &ro, nil
}

func runRelay(ctx context.Context, o *options, f *relayFlags) (err error) {
	d, err := o.existing()
	if err != nil {
		return err
	}
	defer d.Close()
	ro, err := f.relayOptions(o, d)
	if err != nil {
		return err
	}
	b, closeBroker, err := o.openBroker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBroker()) }()
	r, err := relay.New(d.DB, d.dialect, b, ro)
	if err != nil {
		return usage(err)
	}
	queue, err := d.queue()
	if err != nil {
		return err
	}
	serve, err := listen(ctx, f.http, admin.Handler(r, queue, &admin.Options{Version: number()}))
	if err != nil {
		return err
	}
	// Health is served until the relay has stopped, also while it drains.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var servers sync.WaitGroup
	servers.Go(func() { serve(serving) })
	defer servers.Wait()
	defer stop()

	slog.InfoContext(ctx, "relay starts", slog.String("producer", ro.Producer), slog.String("database", d.address),
		slog.String("broker", address.Redact(o.broker)))
	err = r.Run(ctx)
	if err == nil {
		slog.InfoContext(ctx, "relay stopped")
	}
	return err
}

// listen binds the addresses, so that one that is taken is an error at once, and
// returns what serves them until its context ends.
func listen(ctx context.Context, addrs []string, handler http.Handler) (serve func(context.Context), err error) {
	listeners := make([]net.Listener, 0, len(addrs))
	for _, addr := range addrs {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			var badAddr *net.AddrError
			if errors.As(err, &badAddr) {
				return nil, usagef("--http %q: %w", addr, err)
			}
			return nil, fmt.Errorf("serve --http %s: %w", addr, err)
		}
		listeners = append(listeners, l)
	}
	return func(ctx context.Context) {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
		var group sync.WaitGroup
		for _, l := range listeners {
			slog.InfoContext(ctx, "serving health and figures", slog.String("address", l.Addr().String()))
			group.Go(func() {
				if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					slog.ErrorContext(ctx, "health and figures are served no more", slog.String("address", l.Addr().String()), slog.Any("error", err))
				}
			})
		}
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(closing) != nil {
			_ = server.Close()
		}
		group.Wait()
	}, nil
}
