package torture

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is a kind of thing that a run breaks.
type Fault struct {
	Name string
	What string // for a person
}

// Faults are all that there are, in the order in which help names them.
var Faults = []Fault{
	{"kill", "SIGKILL of producers, relays and consumers, also inside COMMIT"},
	{"pause", "SIGSTOP of producers, relays and consumers, and SIGCONT a while later"},
	{"network", "connections cut, reset, delayed, throttled, black-holed and half open (not SQLite, Kafka, activemq://, TLS or several hosts)"},
	{"messages", "30 % of messages each lost after the broker confirmed them, sent twice, and out of order; some held back"},
	{"receipts", "the same with receipts"},
	{"handlers", "handlers that are slow, hang, panic, fail, ask for another copy, and reject"},
	{"leaders", "relays that lead although another one does"},
	{"clock", "a producer whose clock is an hour off (records are then kept for two hours, and forgetting is not tried)"},
	{"snapshot", "long transactions that hold the producer's database at its oldest snapshot"},
	{"broker", "the broker killed and started again (servers: --broker-kill, --broker-start)"},
	{"wipe", "the broker killed and started again without its data (servers: --broker-wipe too)"},
	{"disk", "the broker's disk full (servers: --broker-fill, --broker-free)"},
	{"database", "the databases' server killed and started again (--db-kill, --db-start)"},
}

// Check checks a list of faults' names; see Options.Faults.
func Check(names []string) error {
	_, err := choose(names)
	return err
}

// selection are the chosen faults.
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
