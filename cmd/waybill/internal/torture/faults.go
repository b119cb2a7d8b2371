package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Fault is a kind of thing that a run breaks.
type Fault struct {
	Name string
	What string // for a person

	weight int    // how often it is injected, beside the others
	inject inject // nil: it is there from the start
}

// inject breaks something, and returns once that is healed.
type inject func(n *nemesis, ctx context.Context, dice *rand.Rand)

// Faults are all that there are, in the order in which help names them.
var Faults = []Fault{
	{"kill", "SIGKILL of producers, relays and consumers, also inside COMMIT", 10, (*nemesis).kill},
	{"pause", "SIGSTOP of producers, relays and consumers, and SIGCONT a while later", 5, (*nemesis).pause},
	{"network", "connections cut, reset, delayed, throttled, black-holed and half open (not SQLite, Kafka, activemq://, TLS or several hosts)", 8, (*nemesis).network},
	{"messages", "30 % of messages each lost after the broker confirmed them, sent twice, and out of order; some held back", 3, (*nemesis).messages},
	{"receipts", "the same with receipts", 3, (*nemesis).receipts},
	{"handlers", "handlers that are slow, hang, panic, fail, ask for another copy, end their transaction, and reject", 3, (*nemesis).handlers},
	{"foreign", "a foreign producer that writes to the run's destinations what nobody can read, or handlers fail with or reject: what takes no effect has to be kept by its consumer", 2, (*nemesis).foreign},
	{"leaders", "relays that lead although another one does", 2, (*nemesis).leaders},
	{"clock", "a producer whose clock is an hour off (records are then kept for two hours, and forgetting is not tried)", 0, nil},
	{"absent", "one of a topic's two consumers away for long, with some seeds from the beginning until all else is healed; the other one has to keep up (an even seed has a topic only where this fault is named)", 0, nil},
	{"snapshot", "long transactions that hold the producer's database at its oldest snapshot", 1, (*nemesis).snapshot},
	{"broker", "the broker killed and started again (servers: --broker-kill, --broker-start)", 2, (*nemesis).restartBroker},
	{"wipe", "the broker killed and started again without its data (servers: --broker-wipe too)", 2, (*nemesis).wipeBroker},
	{"disk", "the broker's disk full (servers: --broker-fill, --broker-free)", 2, (*nemesis).fillDisk},
	{"dbdisk", "the databases' disk full (servers: --db-fill, --db-free)", 2, (*nemesis).fillDatabase},
	{"restore", "a database put back to a copy that was taken some seconds before, and with it what was committed, row ids and sequences", 2, (*nemesis).restore},
	{"database", "the databases' server killed and started again (--db-kill, --db-start)", 2, (*nemesis).restartDatabase},
}

// Check checks a list of faults' names; see Options.Faults.
func Check(names []string) error {
	_, err := choose(names)
	return err
}

// selection are the names of the chosen faults.
type selection map[string]bool

// choose reads a list of faults: names, "all", and names to leave out with a '-'
// before them. An empty list means all.
func choose(names []string) (selection, error) {
	chosen := selection{}
	all := len(names) == 0 || strings.HasPrefix(names[0], "-") || slices.Contains(names, "all")
	if all {
		for _, f := range Faults {
			chosen[f.Name] = true
		}
	}
	for _, name := range names {
		bare, without := strings.CutPrefix(name, "-")
		switch {
		case name == "all", name == "none" && len(names) == 1:
		case !slices.ContainsFunc(Faults, func(f Fault) bool { return f.Name == bare }):
			return nil, fmt.Errorf("there is no fault %.40q; there are %s", bare, strings.Join(faultNames(), ", "))
		case without:
			delete(chosen, bare)
		default:
			chosen[bare] = true
		}
	}
	return chosen, nil
}

func faultNames() []string {
	names := make([]string, len(Faults))
	for i, f := range Faults {
		names[i] = f.Name
	}
	return names
}
