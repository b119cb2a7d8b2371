package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// atOnce is how many journeys are made at a time. Most of the time they only wait, for
// leases and for messages that come again.
const atOnce = 4

// namedPlan is the plan of a journey that is a test of its own.
type namedPlan struct {
	name string
	plan plan
}

// makeAll makes the journeys, each a test of its own.
func makeAll(t *testing.T, plans []namedPlan) {
	t.Helper()
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var made, deaths atomic.Int64
	queue := make(chan namedPlan)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for x := range queue {
				t.Run(x.name, func(t *testing.T) {
					died, err := makeJourney(t.Context(), t.TempDir(), x.plan)
					if err != nil {
						t.Error(err)
					}
					made.Add(1)
					deaths.Add(int64(died))
				})
			}
		})
	}
	for _, x := range plans {
		queue <- x
	}
	close(queue)
	workers.Wait()
	t.Logf("%d journeys with %d deaths took %v", made.Load(), deaths.Load(), time.Since(began).Round(time.Millisecond))
}

// TestEveryPoint kills a process once at every point, on a journey on which messages
// are committed while relay and consumer are up, and on one on which a wave waits for
// them; and at its third passing, where a process that runs passes it again and again.
func TestEveryPoint(t *testing.T) {
	var plans []namedPlan
	for _, point := range readPoints(t) {
		who := role(point)
		if who == "" {
			t.Errorf("nobody is known to pass %s", point)
			continue
		}
		at := []string{point}
		if again(point) {
			at = append(at, point+"#3")
		}
		for _, p := range at {
			for _, late := range []bool{false, true} {
				when := "early"
				if late {
					when = "late"
				}
				plans = append(plans, namedPlan{name: strings.ReplaceAll(p, "#", "/") + "/" + when, plan: plan{rough: rough(point), late: late, deaths: map[string][]string{who: {p}}}})
			}
		}
	}
	makeAll(t, plans)
}

// TestEveryPairOfPoints kills a process at every point A of the happy journey, and the
// process that takes its place at every point B, for all A and B of one role. It does
// so in chains: the deaths of a journey are A B C D, which are the pairs AB, BC and CD,
// and the last life goes on to the end. There are pairs of two roles' points, too, where the
// first life of each ends at its own. WAYBILL_CRASH_PAIRS=all makes all of them (make crash);
// without it some of each are drawn by chance, and the seed that is logged draws the same again.
//
// Not among the pairs are the points that only rough journeys pass, and those that are
// passed once a journey at most.
func TestEveryPairOfPoints(t *testing.T) {
	if testing.Short() {
		t.Skip("pairs of crash points take minutes")
	}
	all := os.Getenv("WAYBILL_CRASH_PAIRS") == "all"
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WAYBILL_CRASH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WAYBILL_CRASH_SEED: %v", err)
		}
	}
	t.Logf("WAYBILL_CRASH_SEED=%d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))

	happy := map[string][]string{} // by role
	for _, point := range readPoints(t) {
		if !rough(point) && !rare(point) {
			happy[role(point)] = append(happy[role(point)], point)
		}
	}
	var plans []namedPlan
	pairs := 0
	roles := []string{"producer", "relay", "consumer"}
	for _, who := range roles {
		points := happy[who]
		dice.Shuffle(len(points), func(i, k int) { points[i], points[k] = points[k], points[i] })
		for i, chain := range some(dice, chains(points), all, ofChains) {
			pairs += len(chain) - 1
			plans = append(plans, namedPlan{
				name: fmt.Sprintf("%s/%d", who, i),
				plan: plan{late: i%2 == 0, deaths: map[string][]string{who: chain}},
			})
		}
	}
	two := some(dice, across(happy, roles), all, ofAcross)
	for i, deaths := range two {
		plans = append(plans, namedPlan{name: fmt.Sprintf("across/%d/%v", i, deaths), plan: plan{late: i%2 == 0, deaths: deaths}})
	}
	t.Logf("%d pairs of one role, and %d of two", pairs, len(two))
	makeAll(t, plans)
}

const (
	chainDeaths = 16 // of one journey
	ofChains    = 5  // one chain of so many is made where not all are
	ofAcross    = 30 // the same of the pairs of two roles
)

// some are a part of all, one of so many, in an order by chance.
func some[T any](dice *rand.Rand, from []T, all bool, of int) []T {
	dice.Shuffle(len(from), func(i, k int) { from[i], from[k] = from[k], from[i] })
	if all {
		return from
	}
	return from[:(len(from)+of-1)/of]
}

// across are all pairs of points of two roles.
func across(points map[string][]string, roles []string) (all []map[string][]string) {
	for i, a := range roles {
		for _, b := range roles[i+1:] {
			for _, p := range points[a] {
				for _, q := range points[b] {
					all = append(all, map[string][]string{a: {p}, b: {q}})
				}
			}
		}
	}
	return all
}

// chains returns chains of points in which each stands behind each, and behind itself,
// once: a de Bruijn sequence of order 2, cut into pieces.
func chains(points []string) (all [][]string) {
	var cycle []string
	for i, p := range points {
		cycle = append(cycle, p)
		for _, q := range points[i+1:] {
			cycle = append(cycle, p, q)
		}
	}
	cycle = append(cycle, cycle[0])
	for from := 0; from+1 < len(cycle); from += chainDeaths - 1 {
		all = append(all, cycle[from:min(from+chainDeaths, len(cycle))])
	}
	return all
}

func TestTheChainsHaveEachPairOnce(t *testing.T) {
	points := strings.Split("abcdefghijklmnop", "")
	seen := map[string]int{}
	for _, chain := range chains(points) {
		for i := range chain[1:] {
			seen[chain[i]+chain[i+1]]++
		}
	}
	for _, p := range points {
		for _, q := range points {
			if seen[p+q] != 1 {
				t.Errorf("got %s%s %d times, want once", p, q, seen[p+q])
			}
		}
	}
	if want := len(points) * len(points); len(seen) != want {
		t.Errorf("got %d pairs of %d points, want %d", len(seen), len(points), want)
	}
}
