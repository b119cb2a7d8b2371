package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/store"
)

const pruneHelp = `Forget the consumers' records that are older than the retention and that their
producer can no longer send. Running inboxes do this by themselves; this is for
databases whose consumers are gone or seldom run.

No record goes that its producer may still ask for, as far as it has told: --retention
is counted from there. A message that was forgotten and comes all the same is rejected
and not handled twice. Ages are those by the database's clock. Producers that wait for no
receipts have --foreign-retention, and messages from topics the longer one of both: a
consumer of a topic whose producer does not name it (waybill relay --consumers) needs it
as long as it may be away. What is forgotten here is forgotten for all processes of the
consumer, so that neither should be shorter than theirs.

--dry-run changes nothing. It says up to which time each producer's messages would be
forgotten, and how many records at most: it counts what is older than the latest of these
times, up to 10,000. Idle keys it counts on the producer's side alone.

--keys-idle forgets keys, too, which never happens by itself:

  --side producer   the counters (qmessage_key) of keys that were last used longer ago
                    and have no message here. A key that comes back goes on above the
                    highest sequence and time stamp that were forgotten. At least 24h.
  --side consumer   the records of level latest whose state is older. From then on no
                    state of that destination takes effect, whatever its key, that is not
                    newer than all that was forgotten: such a one is rejected, and a
                    person decides. At least 168h. Keys that are stamped with versions
                    of the sender's own stay.`

const pruneExample = `  waybill prune --db postgres://app:secret@localhost/app
  waybill prune --retention 720h --consumer shipping --json
  waybill prune --dry-run
  waybill prune --keys-idle 2160h --side producer`

type pruneFlags struct {
	retention, foreign time.Duration
	keysIdle           time.Duration
	side               string
	consumer           string
	json, dryRun       bool
}

func newPruneCommand(o *options) *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:     "prune",
		Short:   "Forget consumers' old records, and idle keys",
		Long:    pruneHelp,
		Example: pruneExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			d, err := o.openAnswering(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			if f.dryRun && f.keysIdle == 0 {
				return f.tell(cmd.Context(), d, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			if f.keysIdle > 0 && f.side == string(store.Producer) {
				return f.forgetKeys(cmd.Context(), d, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return f.prune(cmd.Context(), d, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&f.retention, "retention", store.DefaultRetention, "how much older than their producer's floor records have to be to go")
	flags.DurationVar(&f.foreign, "foreign-retention", 0, "the same for producers that wait for no receipts, and at least for topics (default 168h, or --retention where that is given)")
	flags.DurationVar(&f.keysIdle, "keys-idle", 0, "forget the keys of one --side that were last used longer ago")
	flags.StringVar(&f.side, "side", "", "`side` whose keys are forgotten: producer or consumer")
	flags.StringVar(&f.consumer, "consumer", "", "records of this `consumer` only (default: of all)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be forgotten, and forget nothing")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each consumer, or one for the producer")
	o.offerFlag(cmd, "consumer", consumers)
	complete(cmd, "side", string(store.Producer), string(store.Consumer))
	return cmd
}

// check checks the flags, and fills in what follows from them.
func (f *pruneFlags) check(cmd *cobra.Command) error {
	if err := checkPositive(cmd, "retention", "foreign-retention", "keys-idle"); err != nil {
		return err
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	if f.foreign == 0 {
		f.foreign = store.DefaultForeignRetention
		if given("retention") {
			f.foreign = f.retention
		}
	}
	if given("keys-idle") != given("side") {
		return usagef("--keys-idle and --side go together: the keys of which side are to be forgotten?")
	}
	least := store.LeastIdleSender
	switch f.side {
	case "", string(store.Producer):
	case string(store.Consumer):
		least = store.LeastIdleState
	default:
		return usagef("--side is %.40q; use producer or consumer", f.side)
	}
	if given("keys-idle") && f.keysIdle < least {
		return usagef("--keys-idle is %v; the keys of the %s have to be idle for %v at least", f.keysIdle, f.side, least)
	}
	if f.dryRun && f.keysIdle > 0 && f.side == string(store.Consumer) {
		return usagef("--dry-run does not count the keys of consumers: which of them go is known when all that are kept of their destination have been looked at")
	}
	if f.side == string(store.Producer) && f.consumer != "" {
		return usagef("--consumer has nothing to do with the keys of the producer")
	}
	return nil
}

// pruneBatch is how many records one transaction removes.
const pruneBatch = 1000

type prunedLine struct {
	Consumer string `json:"consumer"`
	Pruned   int64  `json:"pruned"`
	Keys     *int64 `json:"keys,omitempty"` // with --keys-idle
}

type forgottenLine struct {
	Keys int64 `json:"keys"`
}

type idleLine struct {
	Keys int64 `json:"idle_keys"`
}

// forgettableLine is what --dry-run tells of one consumer.
type forgettableLine struct {
	Consumer string `json:"consumer"`
	// Records: at most so many would go; AtLeast: they were counted no further.
	Records   int64                `json:"records_at_most"`
	AtLeast   bool                 `json:"at_least,omitempty"`
	Producers []forgettableHorizon `json:"producers"`
}

type forgettableHorizon struct {
	Producer string    `json:"producer"`
	Before   time.Time `json:"before"` // what is older than this would be forgotten
}

// mostForgettable is how many records --dry-run counts.
const mostForgettable = 10_000

// tell says what prune would do.
func (f *pruneFlags) tell(ctx context.Context, d *database, stdout, stderr io.Writer) error {
	return f.eachConsumer(ctx, d, stderr, func(ledger *store.Ledger, consumer string, now time.Time) error {
		horizons, records, err := ledger.Forgettable(ctx, now, store.Retention{Confirmed: f.retention, Foreign: f.foreign}, mostForgettable)
		if err != nil {
			return fmt.Errorf("consumer %s: %w", consumer, err)
		}
		line := forgettableLine{Consumer: consumer, Records: records, AtLeast: records == mostForgettable, Producers: []forgettableHorizon{}}
		text := fmt.Sprintf("%s: %s records at most would be forgotten", consumer, terminal.Number(records))
		if line.AtLeast {
			text = fmt.Sprintf("%s: perhaps more than %s records would be forgotten", consumer, terminal.Number(records))
		}
		for _, h := range horizons {
			p := forgettableHorizon{strings.TrimSuffix(h.Producer, "."), h.ID.Time().UTC()}
			line.Producers = append(line.Producers, p)
			text += fmt.Sprintf("\n  of %s what is older than %s", p.Producer, p.Before.Format(time.DateTime+" MST"))
		}
		return printLine(stdout, f.json, line, text)
	})
}

// forgetKeys forgets the producer's idle keys.
func (f *pruneFlags) forgetKeys(ctx context.Context, d *database, stdout, stderr io.Writer) error {
	queue, err := store.NewQueue(d.DB, d.dialect, d.prefix)
	if err != nil {
		return err
	}
	defer queue.CloseIdle()
	if err := queue.CheckSchema(ctx); err != nil {
		return err
	}
	if f.dryRun {
		idle, err := queue.IdleKeys(ctx, f.keysIdle, pruneBatch)
		if err != nil {
			return err
		}
		return printLine(stdout, f.json, idleLine{idle}, fmt.Sprintf("%d keys would be forgotten", idle))
	}
	progress := terminal.NewProgress(stderr)
	defer progress.Clear()
	progress.Update("forgetting keys that were last used more than %v ago", f.keysIdle)
	gone, err := queue.ForgetKeys(ctx, f.keysIdle, pruneBatch)
	if err != nil {
		return fmt.Errorf("%w; %d keys are forgotten", err, gone)
	}
	progress.Clear()
	return printLine(stdout, f.json, forgottenLine{gone}, fmt.Sprintf("%d keys forgotten", gone))
}

func (f *pruneFlags) prune(ctx context.Context, d *database, stdout, stderr io.Writer) error {
	progress := terminal.NewProgress(stderr)
	defer progress.Clear()
	return f.eachConsumer(ctx, d, stderr, func(ledger *store.Ledger, consumer string, now time.Time) error {
		progress.Update("pruning the records of %s", consumer)
		line, err := f.pruneOne(ctx, ledger, consumer, now)
		if err != nil {
			return err
		}
		progress.Clear()
		text := fmt.Sprintf("%s: %d records forgotten", consumer, line.Pruned)
		if line.Keys != nil {
			text += fmt.Sprintf(", and the states of %d keys", *line.Keys)
		}
		return printLine(stdout, f.json, line, text)
	})
}

// eachConsumer gives do the ledger of each consumer that is meant, and the database's clock:
// this host's may be days off.
func (f *pruneFlags) eachConsumer(ctx context.Context, d *database, stderr io.Writer, do func(ledger *store.Ledger, consumer string, now time.Time) error) error {
	consumers, err := store.Consumers(ctx, d.DB, d.dialect, d.prefix)
	if err != nil {
		return err
	}
	if f.consumer != "" {
		consumers = []string{f.consumer}
	}
	one := func(consumer string) error {
		ledger, err := store.NewLedger(d.DB, d.dialect, d.prefix, consumer)
		if err != nil {
			return err
		}
		defer ledger.CloseIdle()
		if err := ledger.CheckSchema(ctx); err != nil {
			return err
		}
		now, err := ledger.Clock(ctx)
		if err != nil {
			return err
		}
		return do(ledger, consumer, now)
	}
	for _, consumer := range consumers {
		if err := one(consumer); err != nil {
			return err
		}
	}
	if len(consumers) == 0 {
		fmt.Fprintln(stderr, "No consumer knows any producer here, so that nothing can be forgotten. An inbox stores what it knows of producers each minute, and when it ends.")
	}
	return nil
}

// pruneOne prunes one consumer's records and says how many are gone.
func (f *pruneFlags) pruneOne(ctx context.Context, ledger *store.Ledger, consumer string, now time.Time) (line *prunedLine, err error) {
	line = &prunedLine{Consumer: consumer}
	line.Pruned, err = ledger.PruneBy(ctx, now, store.Retention{Confirmed: f.retention, Foreign: f.foreign}, pruneBatch)
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w; %d of its records are forgotten", consumer, err, line.Pruned)
	}
	if f.keysIdle > 0 {
		gone, err := ledger.ForgetKeys(ctx, now, f.keysIdle, pruneBatch)
		if err != nil {
			return nil, fmt.Errorf("consumer %s: %w; the states of %d of its keys are forgotten", consumer, err, gone)
		}
		line.Keys = &gone
	}
	return line, nil
}
