package main

import (
	"os"
	"slices"
	"sync"

	"github.com/spf13/cobra"
)

// options are the flags that every command takes.
type options struct {
	db, broker, prefix  string
	logLevel, logFormat string
	// name is what databases and brokers show for the connections of this process.
	name string
}

const rootHelp = `Waybill is registered delivery between services: a business change and its
message commit in one database transaction, the message is sent again until the
consumer has committed its effect and a receipt has come back, the effect happens
once, and an older state never overwrites a newer one.

Databases are named by addresses:

  postgres://user:password@host:5432/database
  mysql://user:password@host:3306/database       (MySQL and MariaDB)
  sqlite:path/to/file.db

and so are brokers:

  amqp1://user:password@host     AMQP 1.0: ActiveMQ Classic, Artemis and others (TLS: amqp1s)
  stomp://user:password@host     STOMP: ActiveMQ (TLS: stomp+tls)
  activemq://user:password@host  the best connector that an ActiveMQ offers
  rabbitmq://user:password@host  AMQP 0-9-1 (TLS: rabbitmqs)
  nats://user:password@host      NATS JetStream (TLS: tls+nats)
  kafka://user:password@host     Kafka (TLS: kafka+tls)
  embedded:path/to/dir           a broker inside this process, for one process at a time

Give passwords in WAYBILL_DB and WAYBILL_BROKER rather than in flags, which other
users of the machine can see. No command shows them.

Exit status: 0 success, also where there is nothing to show or to do; 1 a failed operation, of
which others may have succeeded, or a bad verdict, or not healthy; 2 wrong usage, and nothing
was done.`

const rootExample = `  export WAYBILL_DB=postgres://app:secret@localhost/app
  export WAYBILL_BROKER=amqp1://app:secret@localhost
  waybill init
  waybill relay --producer shop &
  waybill send orders --key A-1 --body '{"state":"shipped"}'
  waybill receive orders --consumer shipping --level latest --count 1
  waybill status`

// keepOrder has cobra show the commands in the order of this file, which is that of the work.
var keepOrder = sync.OnceFunc(func() { cobra.EnableCommandSorting = false })

// newRoot makes the tree of commands. running is set once one of them has begun,
// that is, once nothing is wrong with its command line.
func newRoot() (root *cobra.Command, running *bool) {
	keepOrder()
	o := &options{}
	root = &cobra.Command{
		Use:           "waybill",
		Short:         "Registered delivery between services",
		Long:          rootHelp,
		Example:       rootExample,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("no command given")
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			o.fromEnvironment(cmd)
			o.name = connectionName(cmd)
			return setLogger(cmd.ErrOrStderr(), o.logLevel, o.logFormat)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.db, "db", "", "`address` of the database (WAYBILL_DB)")
	flags.StringVar(&o.broker, "broker", "", "`address` of the broker (WAYBILL_BROKER)")
	flags.StringVar(&o.prefix, "prefix", "", "`prefix` or schema of the tables, such as app_ or app. (WAYBILL_PREFIX)")
	flags.StringVar(&o.logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "text", "`form` of the log on standard error: text or json")
	flags.SortFlags = false
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")

	// A command that this program was built without is nil, and so is a group without any.
	add := func(title string, commands ...*cobra.Command) {
		commands = slices.DeleteFunc(commands, func(c *cobra.Command) bool { return c == nil })
		if len(commands) == 0 {
			return
		}
		root.AddGroup(&cobra.Group{ID: title, Title: title})
		for _, c := range commands {
			c.GroupID = title
			root.AddCommand(c)
		}
	}
	add("Set up and run:", newDemoCommand(), newInitCommand(o), newRelayCommand(o), newSendCommand(o), newReceiveCommand(o))
	add("Look:", newStatusCommand(o), newListCommand(o), newShowCommand(o), newGroupsCommand(o), newUICommand(o), newHealthCommand())
	add("Repair:", newResendCommand(o), newDiscardCommand(o), newPauseCommand(o), newResumeCommand(o), newPruneCommand(o))
	add("Prove:", newTortureCommand(o))
	add("About this program:", newVersionCommand(), newCompletionCommand())
	root.CompletionOptions.DisableDefaultCmd = true

	running = new(bool)
	markRunning(root, running)
	return root, running
}

// markRunning has the commands below parent set running once they begin.
func markRunning(parent *cobra.Command, running *bool) {
	for _, c := range parent.Commands() {
		markRunning(c, running)
		if run := c.RunE; run != nil {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				*running = true
				return run(cmd, args)
			}
		}
	}
}

// fromEnvironment fills in what flags do not give. The variables are no defaults of
// the flags, since --help shows those, with their passwords.
func (o *options) fromEnvironment(cmd *cobra.Command) {
	for _, x := range []struct {
		flag, variable string
		value          *string
	}{
		{"db", "WAYBILL_DB", &o.db},
		{"broker", "WAYBILL_BROKER", &o.broker},
		{"prefix", "WAYBILL_PREFIX", &o.prefix},
	} {
		if f := cmd.Flags().Lookup(x.flag); f == nil || !f.Changed {
			*x.value = os.Getenv(x.variable)
		}
	}
}
