package main

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/relay"
)

const relayHelp = `Run a relay: it moves committed messages from the outbox to the broker, sends again
what is not receipted, and removes what is.

One relay leads an outbox; any number of others stand by and take over within the
time of the lease. A database or broker that is away is waited for, at start and at
any time, and the log says so. Nothing is sent to a destination that is paused (waybill
pause), by a person or by --breaker. SIGINT or SIGTERM lets it finish what is under way,
within five seconds; a second one ends it at once. Nothing is lost either way.

--http serves
  /          a page that shows what waits and why, sends rejected messages again and pauses destinations
  /healthz   200 while the process lives
  /readyz    200 while it leads and is connected, or stands by for another relay
  /metrics   figures for Prometheus, names that begin with waybill_
  /stats     the same as JSON

The last four are for whoever can reach the address. ` + consoleHelp + `

An embedded broker serves one process at a time: a consumer in another process cannot
receive while "waybill relay --broker embedded:DIR" runs. Use the library in one
process, or a broker that is a server.`

const relayExample = `  waybill relay --producer shop --db postgres://app:secret@localhost/app --broker amqp1://app:secret@localhost
  waybill relay --producer shop --http :9090
  waybill relay --producer shop --transient orders,stock        # the relay, not the broker's disk, keeps these safe
  waybill relay --producer shop --accepted mails                # for a consumer that knows nothing of Waybill
  waybill relay --producer shop --consumers prices=shop,audit   # a topic: both must have confirmed before a row goes
  waybill relay --producer shop --per-second mails=50 --breaker '*=20' --breaker-for 10m`

type relayFlags struct {
	relay               relay.Options
	console             consoleFlags
	transient, accepted []string
	consumers           []string
	perSecond, breakers []string
	breakerFor          time.Duration
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
			return f.run(cmd, o)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *relayFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.relay.Producer, "producer", "", "`name` of this outbox, such as that of the service: receipts come back on the queue ack.NAME.IDENTITY; required")
	if err := cmd.MarkFlagRequired("producer"); err != nil {
		panic(err)
	}
	flags.StringSliceVar(&f.transient, "transient", nil, "`destinations` whose messages the broker need not write to its disk; topic:NAME for a topic alone, * for all")
	flags.StringSliceVar(&f.accepted, "accepted", nil, "`destinations` whose rows go when the broker has the message, without receipts; topic:NAME for a topic alone, * for all")
	flags.StringArrayVar(&f.consumers, "consumers", nil, "`TOPIC=NAME,NAME`: all these consumers must confirm; otherwise the first to confirm suffices; may be repeated")
	flags.StringArrayVar(&f.perSecond, "per-second", nil, "`NAME=N`: send at most N messages a second to this destination; topic:NAME for a topic alone, * for each that is not named; may be repeated")
	flags.StringArrayVar(&f.breakers, "breaker", nil, "`NAME=N`: pause this destination after N rejections in a row, or NAME=P%/TIME where that share is rejected within that time; topic:NAME and * as above; may be repeated")
	flags.DurationVar(&f.breakerFor, "breaker-for", 0, "how long such a pause lasts (default until 'waybill resume')")
	flags.IntVar(&f.relay.Window, "window", 10_000, "most messages per destination that are sent and not confirmed")
	flags.IntVar(&f.relay.InFlight, "in-flight", 0, "most messages of all destinations that are sent and not confirmed (default 200,000, or twice the window)")
	flags.IntVar(&f.relay.InFlightBytes, "in-flight-bytes", 0, "most bytes of messages of all destinations that wait for the broker (default 64 MiB)")
	flags.IntVar(&f.relay.Batch, "batch", 500, "most messages read or published at once")
	flags.DurationVar(&f.relay.Lease, "lease", 15*time.Second, "how long a relay that died keeps others waiting")
	flags.DurationVar(&f.relay.RejectedHold, "rejected-hold", 72*time.Hour, "for how long after it is rejected a message's consumers go on remembering it, so that 'waybill resend' works")
	flags.DurationVar(&f.relay.Poll, "poll", 500*time.Millisecond, "longest time between two looks at an idle table")
	flags.DurationVar(&f.relay.MinResend, "min-resend", time.Second, "least time after which a message without a receipt is sent again")
	flags.DurationVar(&f.relay.MaxResend, "max-resend", time.Minute, "greatest such time")
	f.console.register(cmd, nil, "serve health, figures and the page on this `address`, such as :9090; may be repeated")
}

// options checks the flags, and adds what follows from them.
func (f *relayFlags) options(cmd *cobra.Command, o *options) (*relay.Options, error) {
	wrong := checkPositive(cmd, "window", "in-flight", "in-flight-bytes", "batch", "lease", "poll", "min-resend", "max-resend", "rejected-hold", "breaker-for")
	ro := f.relay
	ro.TablePrefix = o.prefix
	ro.Logger = slog.Default()
	if err := errors.Join(wrong, f.setDestinations(&ro)); err != nil {
		return nil, err
	}
	ro.Listen = address.Listener(o.db, o.prefix, o.name)
	return &ro, nil
}

// topicPrefix marks a name of --transient and --accepted as a topic's alone.
const topicPrefix = "topic:"

// setDestinations sets what --transient, --accepted and --consumers say of destinations.
func (f *relayFlags) setDestinations(ro *relay.Options) error {
	ro.Destinations, ro.Topics = map[string]relay.Destination{}, map[string]relay.Destination{}
	each := func(names []string, set func(*relay.Destination)) {
		for _, name := range names {
			if name == "*" {
				set(&ro.Default)
				continue
			}
			exceptions := ro.Destinations
			if topic, is := strings.CutPrefix(name, topicPrefix); is {
				name, exceptions = topic, ro.Topics
			}
			x := exceptions[name]
			set(&x)
			exceptions[name] = x
		}
	}
	each(f.transient, func(x *relay.Destination) { x.Transport = waybill.Transient })
	each(f.accepted, func(x *relay.Destination) { x.Confirm = waybill.Accepted })
	var wrong []error
	for _, value := range f.consumers {
		topic, names, _ := strings.Cut(value, "=")
		if topic == "" || topic == "*" || names == "" {
			wrong = append(wrong, usagef("--consumers %.80q is not TOPIC=NAME,NAME", value))
			continue
		}
		x, known := ro.Topics[topic]
		if !known {
			x, known = ro.Destinations[topic]
		}
		if !known {
			x = ro.Default
		}
		x.Consumers = append(x.Consumers, strings.Split(names, ",")...)
		ro.Topics[topic] = x
	}
	return errors.Join(errors.Join(wrong...), f.setSteering(ro))
}

func (f *relayFlags) run(cmd *cobra.Command, o *options) (err error) {
	ctx := cmd.Context()
	d, err := o.openExisting()
	if err != nil {
		return err
	}
	defer d.Close()
	ro, err := f.options(cmd, o)
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
	figures := func(o *admin.Options) http.Handler { return admin.Handler(r, queue, o) }
	stop, err := f.console.serve(ctx, admin.Database{Name: ro.Producer, DB: d.DB, Dialect: d.dialect, TablePrefix: d.prefix, About: d.address, Relay: r}, figures)
	if err != nil {
		return err
	}
	defer stop()

	slog.InfoContext(ctx, "relay starts", slog.String("producer", ro.Producer), slog.String("database", d.address),
		slog.String("broker", address.Redact(o.broker)))
	err = r.Run(ctx)
	if err == nil {
		slog.InfoContext(ctx, "relay stopped")
	}
	return err
}
