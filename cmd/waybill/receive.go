package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/cmd/waybill/internal/handler"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

const receiveHelp = `Consume a destination: each message is guarded against duplicates (--level once) or
against duplicates and stale states (--level latest), handled, recorded in the
database in one transaction, and receipted, so that its producer lets it go.

Each message that is handled is printed as a JSON line:

  {"message_id":…,"destination":…,"key":…,"time_stamp":…,"sequence":…,"attempt":…,"headers":{…},"body":"text"}

with "body_base64" in place of "body" for bytes that are no text. A line is printed
just before its record is committed: after a crash a message may be printed again, and
none is left out.

--exec gives each message to a command instead, through the shell: its body on standard
input, the rest in the environment as WAYBILL_MESSAGE_ID, WAYBILL_DESTINATION,
WAYBILL_KEY, WAYBILL_TIME_STAMP, WAYBILL_SEQUENCE, WAYBILL_PRODUCER, WAYBILL_ATTEMPT,
WAYBILL_FAILURES and WAYBILL_HEADERS (a JSON object). Its exit status is the result:

  0              done
  65             permanent (EX_DATAERR): rejected, and kept in its producer's outbox
  75 and others  try again (EX_TEMPFAIL), with growing delays, --max-tries times

The end of what it wrote to standard error goes to the producer as the reason. The
command runs while the transaction that holds the record is open, a message at a time
for each worker; on SQLite it must not write to the same file.

--count N stops after N messages that took effect; the next one stays with the broker. Without it the
command runs until SIGINT or SIGTERM, and then finishes what is under way within ten
seconds; a second signal ends it at once. However it ends, by SIGKILL too, what --exec
has started is killed with it, and the message comes again: all but what has made itself
a daemon (setsid), and on Windows nothing.

Records are forgotten when they are older by --retention than what their producer may
still send. Producers that wait for no receipts have --foreign-retention, and messages
from topics the longer one of both; --retention alone sets both. The shortest that any
process of the consumer has, or "waybill prune", holds for all.

While DESTINATION is paused (waybill pause --side consumer) it takes nothing.
A database or broker that is away is waited for, and the log says so. An embedded broker
serves one process at a time: "waybill relay" cannot use it meanwhile.

--http serves /healthz, /readyz (200 while it is connected), /metrics for Prometheus, the same as
JSON at /stats, and the page. ` + consoleHelp

const receiveExample = `  waybill receive orders --consumer shipping --level latest
  waybill receive mails --consumer mailer --exec './deliver.sh "$WAYBILL_KEY"'
  waybill receive prices --topic --consumer board --count 10 > ten.jsonl`

type receiveFlags struct {
	level   string
	count   int
	command string
	topic   bool
	json    bool // the only form
	inbox   inbox.Options
	breaker string
	console consoleFlags
}

func newReceiveCommand(o *options) *cobra.Command {
	var f receiveFlags
	cmd := &cobra.Command{
		Use:     "receive DESTINATION",
		Short:   "Consume messages, and print them or give them to a command",
		Long:    receiveHelp,
		Example: receiveExample,
		Args:    takes("DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.receiver(cmd, o, args[0])
			if err != nil {
				return err
			}
			return r.receive(cmd.Context(), o)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *receiveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.inbox.Consumer, "consumer", "", "`name` of the consumer group, which its records are kept under (required)")
	flags.StringVar(&f.level, "level", "once", "guard `level`: once (duplicates) or latest (duplicates and stale states)")
	flags.IntVar(&f.count, "count", 0, "stop after `N` messages that took effect (default: never)")
	flags.StringVar(&f.command, "exec", "", "run this `command` for each message in place of printing it")
	flags.BoolVar(&f.topic, "topic", false, "DESTINATION is a topic")
	flags.BoolVar(&f.json, "json", false, "print JSON lines, which is the only form")
	flags.IntVar(&f.inbox.Workers, "workers", 0, "messages of different keys that are handled at a time (default 4; 1 on SQLite and with --count)")
	flags.IntVar(&f.inbox.Batch, "batch", 0, "most messages in one transaction (default 200)")
	flags.IntVar(&f.inbox.MaxTries, "max-tries", 20, "how often a message may fail before it is rejected")
	flags.StringVar(&f.breaker, "breaker", "", "pause DESTINATION for this consumer after `N` rejections in a row, or P%/TIME where that share is rejected within that time")
	flags.DurationVar(&f.inbox.Breaker.For, "breaker-for", 0, "how long such a pause lasts (default until 'waybill resume --side consumer')")
	flags.DurationVar(&f.inbox.Timeout, "timeout", time.Minute, "most time for one message")
	flags.DurationVar(&f.inbox.Retention, "retention", 0, "how much older than their producer's floor records have to be to be forgotten (default 24h)")
	flags.DurationVar(&f.inbox.ForeignRetention, "foreign-retention", 0, "the same for producers that wait for no receipts, and at least for topics (default 168h, or --retention where that is given)")
	f.console.register(cmd, nil, "serve health and the page on this `address`, such as 127.0.0.1:9090; may be repeated")
	if err := cmd.MarkFlagRequired("consumer"); err != nil {
		panic(err)
	}
	cmd.MarkFlagsMutuallyExclusive("exec", "batch")
	cmd.MarkFlagsMutuallyExclusive("exec", "json")
	cmd.MarkFlagsMutuallyExclusive("count", "workers")
	cmd.MarkFlagsMutuallyExclusive("count", "batch")
	cmd.MarkFlagsMutuallyExclusive("count", "http")
	complete(cmd, "level", "once", "latest")
}

// receiver is a checked command line.
type receiver struct {
	receiveFlags
	destination string
	guard       waybill.Level
	stdout      io.Writer
	stderr      io.Writer
}

// receiver checks the flags.
func (f *receiveFlags) receiver(cmd *cobra.Command, o *options, destination string) (*receiver, error) {
	r := &receiver{receiveFlags: *f, destination: destination, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
	var wrong []error
	switch f.level {
	case "once":
		r.guard = waybill.Once
	case "latest":
		r.guard = waybill.Latest
	default:
		wrong = append(wrong, usagef("--level is %.40q; use once or latest", f.level))
	}
	if err := waybill.CheckDestination(destination); err != nil {
		wrong = append(wrong, usagef("DESTINATION %.80q %w", destination, err))
	}
	if err := waybill.CheckConsumer(f.inbox.Consumer); err != nil {
		wrong = append(wrong, usagef("--consumer %.80q %w", f.inbox.Consumer, err))
	}
	if cmd.Flags().Changed("exec") && f.command == "" {
		wrong = append(wrong, usagef("--exec is empty"))
	}
	wrong = append(wrong, checkPositive(cmd, "count", "workers", "batch", "max-tries", "timeout", "retention", "foreign-retention", "breaker-for"))
	if f.breaker != "" {
		var err error
		r.inbox.Breaker, err = parseBreaker("breaker", f.breaker, f.inbox.Breaker.For)
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	r.inbox.TablePrefix = o.prefix
	r.inbox.Logger = slog.Default()
	if f.command != "" {
		// A command cannot be rolled back: one that fails must not make its
		// neighbours' commands run again.
		r.inbox.Batch = 1
	}
	return r, nil
}

func (r *receiver) receive(ctx context.Context, o *options) (err error) {
	d, err := o.openExisting()
	if err != nil {
		return err
	}
	defer d.Close()
	b, closeBroker, err := o.openBroker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBroker()) }()
	if r.topic && !b.Capabilities().Topics {
		return usagef("%s has no topics", b.Capabilities().Name)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handle := handler.NewPrinter(r.stdout, func(err error) { stop(&outputError{err}) }).Handle
	if r.command != "" {
		shell := handler.NewShell(r.command, r.stdout, r.stderr)
		defer shell.Close()
		handle = shell.Handle
	}
	slog.InfoContext(ctx, "receiving", slog.String("destination", r.destination), slog.String("consumer", r.inbox.Consumer),
		slog.String("level", r.guard.String()), slog.String("database", d.address), slog.String("broker", address.Redact(o.broker)))
	if r.count > 0 {
		err = r.handleCount(ctx, d, b, handle)
	} else {
		_, err = r.run(ctx, d, b, handle, r.inbox)
	}
	var full *outputError
	if errors.As(context.Cause(ctx), &full) {
		return full
	}
	return err
}

// outputError ends a run whose messages cannot be printed.
type outputError struct{ err error }

func (e *outputError) Error() string { return "standard output takes no more: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// run consumes until ctx ends and returns how many messages were handled.
func (r *receiver) run(ctx context.Context, d *database, b broker.Broker, handle inbox.Handler, options inbox.Options) (int, error) {
	in, err := inbox.New(d.DB, d.dialect, b, &options)
	if err != nil {
		return 0, usage(err)
	}
	keeper, err := store.NewKeeper(d.DB, d.dialect, d.prefix, options.Consumer)
	if err != nil {
		return 0, usage(err)
	}
	in.HandleWith(r.destination, r.guard, handle, &inbox.HandleOptions{Topic: r.topic})
	stop, err := r.console.serve(ctx, admin.Database{
		Name: options.Consumer, DB: d.DB, Dialect: d.dialect, TablePrefix: d.prefix, About: d.address, Inboxes: []*inbox.Inbox{in},
	}, func(o *admin.Options) http.Handler { return admin.InboxHandler(in, keeper, o) })
	if err != nil {
		return 0, err
	}
	defer stop()
	showing, done := context.WithCancel(ctx)
	defer done()
	if !terminal.Is(r.stdout) {
		go showProgress(showing, terminal.NewProgress(r.stderr), in)
	}
	err = in.Run(ctx)
	return int(in.Stats().Handled), err
}

func showProgress(ctx context.Context, p *terminal.Progress, in *inbox.Inbox) {
	defer p.Clear()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s := in.Stats()
			p.Update("%d handled, %d duplicates, %d superseded, %d to come again, %d rejected", s.Handled, s.Duplicates, s.Superseded, s.Retried, s.Rejected)
		}
	}
}

// --count handles batches while more than so many of them are left, and the rest one by
// one.
const (
	countBatch   = 100 // messages
	countBatches = 5
)

// handleCount handles exactly r.count messages. One worker handles them, in batches
// as long as none can go beyond the count, and then one by one. What was counted and
// could not be committed is made up for.
func (r *receiver) handleCount(ctx context.Context, d *database, b broker.Broker, handle inbox.Handler) error {
	for left := r.count; left > 0; {
		o := r.inbox
		o.Workers, o.Batch = 1, 1
		if r.command == "" && left > countBatches*countBatch {
			o.Batch = countBatch
		}
		counting, stop := context.WithCancel(ctx)
		handled, err := r.run(counting, d, b, handler.NewQuota(left, o.Batch, stop).Limit(handle), o)
		stop()
		if err != nil {
			return err
		}
		left -= handled
		if ctx.Err() != nil && left > 0 {
			return fmt.Errorf("stopped after %d of %d messages: %w", r.count-left, r.count, ctx.Err())
		}
	}
	return nil
}
