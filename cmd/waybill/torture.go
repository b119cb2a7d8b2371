//go:build !waybill_lean || waybill_torture

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/torture"
)

const tortureHelp = `Break a database and broker set-up on purpose, and judge the result.

Producers commit and roll back money transfers and changes of orders, and send parcels
of any bytes; relays move their messages, and consumers make their own accounts and
orders of them. All of them
are processes, which are killed and paused. What is between them and the servers is
cut, delayed and black-holed; messages and receipts are lost, doubled and reordered;
handlers hang, panic and fail. Then everything is healed, and the outbox has to empty
itself. The producers' own journals and the two databases are compared.

Give --db and --broker to try your own set-up. Tables get the prefix torture_<run>_ and
are dropped at the end, unless a promise was broken. Queues are called torture.<run>.*
and ack.torture-<run>, and with odd seeds there is a topic torture.<run>.public with two
subscriptions; the broker's user must be allowed to make and delete them. They are
deleted at the end, too, but for ActiveMQ's queues and topics, which neither STOMP nor
AMQP 1.0 can delete: those stay, all but empty. What a foreign producer wrote (the fault
foreign) and consumers rejected stays where the broker keeps dead letters.
Without them it runs on SQLite files and the embedded broker.

To have your servers killed, give the commands that do it; those that start, and
those that make room on a disk, must not return before the server serves, and are tried
three times. With Docker, say:

  --broker-kill 'docker kill mq' --broker-start 'docker start mq && sleep 15'

Faults (--faults; all by default, "all,-wipe" leaves one out, and "none" is none). The
same --seed gives the same faults, as far as timing allows:

%s
Exit status 0: nothing was lost, doubled, stale, phantom or left over, some messages of
every kind were committed and took effect, and all else that is listed at the end held.
Exit status 1: otherwise, with what is wrong.`

const tortureExample = `  waybill torture
  waybill torture --duration 10m --seed 42 --faults kill,network,messages
  waybill torture --db postgres://app:secret@localhost/app --broker rabbitmq://app:secret@localhost
  waybill torture --json | jq .ok`

// tortureRole is the hidden command of a run's other processes.
const tortureRole = "torture-role"

type tortureFlags struct {
	torture torture.Options
	faults  string
	json    bool
}

func newTortureCommand(o *options) *cobra.Command {
	var f tortureFlags
	var faults strings.Builder
	for _, fault := range torture.Faults {
		fmt.Fprintf(&faults, "  %-10s %s\n", fault.Name, fault.What)
	}
	cmd := &cobra.Command{
		Use:     "torture",
		Short:   "Break your database and broker set-up on purpose, and judge the result",
		Long:    fmt.Sprintf(tortureHelp, faults.String()),
		Example: tortureExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return f.run(cmd, o)
		},
	}
	f.register(cmd)
	cmd.AddCommand(newRoleCommand(tortureRole, torture.RunRole))
	return cmd
}

func (f *tortureFlags) register(cmd *cobra.Command) {
	t, flags := &f.torture, cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&t.ConsumerDB, "consumer-db", "", "`address` of the consumers' database, where it is not --db (WAYBILL_CONSUMER_DB)")
	flags.DurationVar(&t.Duration, "duration", 0, "how long things are broken (default 1m)")
	flags.Uint64Var(&t.Seed, "seed", 0, "seed of the faults (default a random one)")
	flags.StringVar(&f.faults, "faults", "", "`names` of the faults, with commas between them (default all)")
	flags.DurationVar(&t.Every, "every", 0, "`time` between two faults, on average (default 325ms)")
	flags.IntVar(&t.Transfers, "transfers", 0, "greatest `number` of transfers, each a message, in a transaction: up to 1000 (default 2)")
	flags.DurationVar(&t.Pace, "pace", 0, "rest of a producer's worker between transactions (default 5ms)")
	flags.StringVar(&t.BrokerKill, "broker-kill", "", "`command` that kills the broker's server")
	flags.StringVar(&t.BrokerStart, "broker-start", "", "`command` that starts it and waits until it serves")
	flags.StringVar(&t.BrokerWipe, "broker-wipe", "", "`command` that deletes its data while it is down")
	flags.StringVar(&t.BrokerFill, "broker-fill", "", "`command` that fills its disk")
	flags.StringVar(&t.BrokerFree, "broker-free", "", "`command` that makes room again and waits until it serves")
	flags.StringVar(&t.DBKill, "db-kill", "", "`command` that kills the databases' server")
	flags.StringVar(&t.DBStart, "db-start", "", "`command` that starts it and waits until it serves")
	flags.StringVar(&t.DBFill, "db-fill", "", "`command` that fills the databases' disk")
	flags.StringVar(&t.DBFree, "db-free", "", "`command` that makes room again and waits until they serve")
	flags.DurationVar(&t.Patience, "patience", 0, "how long to wait at the end while nothing moves any more (default 1m)")
	flags.StringVar(&t.Dir, "dir", "", "empty directory to keep logs and journals in")
	flags.BoolVar(&t.Keep, "keep", false, "leave the run's tables in the databases, and its queues at the broker")
	flags.BoolVar(&f.json, "json", false, "end with one JSON object on standard output; the rest goes to standard error")
}

// check checks the flags.
func (f *tortureFlags) check() error {
	t := &f.torture
	var wrong []error
	if t.Duration < 0 || t.Every < 0 || t.Transfers < 0 || t.Pace < 0 || t.Patience < 0 {
		wrong = append(wrong, usagef("--duration, --every, --transfers, --pace and --patience are not below 0"))
	}
	if t.Every > 0 && t.Every < torture.MinEvery {
		wrong = append(wrong, usagef("--every is %v; the least is %v", t.Every, torture.MinEvery))
	}
	if t.Transfers > torture.MaxTransfers {
		wrong = append(wrong, usagef("--transfers is %d; the most is %d", t.Transfers, torture.MaxTransfers))
	}
	if f.faults != "" {
		t.Faults = strings.Split(f.faults, ",")
	}
	if err := torture.Check(t.Faults); err != nil {
		wrong = append(wrong, usagef("--faults: %w", err))
	}
	return errors.Join(wrong...)
}

func (f *tortureFlags) run(cmd *cobra.Command, o *options) error {
	if o.prefix != "" && !strings.HasSuffix(o.prefix, ".") {
		return usagef("--prefix %q: a run has a prefix of its own; only a schema with its dot can be given", o.prefix)
	}
	t := &f.torture
	if t.ConsumerDB == "" {
		t.ConsumerDB = os.Getenv("WAYBILL_CONSUMER_DB")
	}
	t.ProducerDB, t.Broker, t.Schema = o.db, o.broker, o.prefix
	out, terminal := output(cmd, f.json)
	t.Live = terminal != nil
	report, err := torture.Run(cmd.Context(), selfCommand("torture", tortureRole), out, t)
	if err != nil {
		return err
	}
	return verdict(cmd, f.json, report, report.OK)
}
