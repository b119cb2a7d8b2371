package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/waybill-go/waybill/broker/brokertest"
)

// result is one run of the suite, or a package that failed before it began one.
type result struct {
	adapter string
	brokertest.Declaration
	declared                bool
	passed                  bool // the run as a whole
	cases, failed, notAsked int
	problems                []string // a text for each case that failed
}

func (r *result) ok() bool { return r.passed && r.failed == 0 }

// event is a line of "go test -json".
type event struct{ Action, Package, Test, Output string }

// test is a test of one package.
type test struct{ pkg, name string }

// read returns the runs of the suite, by adapter and server.
func read(events io.Reader) ([]*result, error) {
	runs := map[test]*result{}
	ended := map[test]string{} // how; the name "" stands for the package
	said := map[test]string{}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // a line of the tool's own
		}
		at := test{e.Package, e.Test}
		switch e.Action {
		case "output":
			said[at] += e.Output
			if _, text, found := strings.Cut(e.Output, brokertest.DeclarationMark); found {
				r := &result{adapter: adapter(e.Package), declared: true}
				if err := json.Unmarshal([]byte(text), &r.Declaration); err != nil {
					return nil, fmt.Errorf("what %s of %s declares: %w", e.Test, e.Package, err)
				}
				runs[at] = r
			}
		case "pass", "fail", "skip":
			ended[at] = e.Action
		}
	}
	count(runs, ended, said)
	for at, how := range ended {
		if at.name == "" && how == "fail" && !slices.ContainsFunc(slices.Collect(maps.Keys(runs)), func(run test) bool { return run.pkg == at.pkg }) {
			runs[at] = &result{adapter: adapter(at.pkg)}
		}
	}
	return slices.SortedFunc(maps.Values(runs), func(a, b *result) int {
		return cmp.Or(cmp.Compare(a.adapter, b.adapter), cmp.Compare(a.Server, b.Server))
	}), lines.Err()
}

// count counts each run's cases: the tests below it that have none below them.
func count(runs map[test]*result, ended, said map[test]string) {
	parents := map[test]bool{}
	for at := range ended {
		if i := strings.LastIndex(at.name, "/"); i >= 0 {
			parents[test{at.pkg, at.name[:i]}] = true
		}
	}
	for run, r := range runs {
		r.passed = ended[run] == "pass"
		for at, how := range ended {
			if at.pkg != run.pkg || !strings.HasPrefix(at.name, run.name+"/") || parents[at] {
				continue
			}
			r.cases++
			switch how {
			case "fail":
				r.failed++
				r.problems = append(r.problems, at.name+"\n"+said[at])
			case "skip":
				r.notAsked++
			}
		}
		slices.Sort(r.problems)
	}
}

// adapter is what a package is called below broker/.
func adapter(pkg string) string {
	if _, name, found := strings.Cut(pkg, "/broker/"); found {
		return name
	}
	return pkg
}
