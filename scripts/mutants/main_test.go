package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// program makes a program that ends as a torture does, with a report and a status.
func program(t *testing.T, report string, status int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "torture")
	text := fmt.Sprintf("#!/bin/sh\necho '%s'\nexit %d\n", report, status)
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestARunIsJudgedByItsOwnVerdict(t *testing.T) {
	control, bug := mutant{}, mutant{name: "early_bird", violations: []string{"early"}}
	for _, x := range []struct {
		name   string
		m      mutant
		report string
		status int
		found  []string
		word   string // "" for an error
		ok     bool
	}{
		{"Waybill keeps its promises", control, `{"ok":true}`, 0, nil, "passes", true},
		{"Waybill breaks one that no list has", control, `{"ok":false,"broken":{"newest":1}}`, 1, []string{"newest"}, "FAILS", false},
		{"a bug is caught", bug, `{"ok":false,"broken":{"early":1,"altered":2}}`, 1, []string{"altered", "early"}, "caught", true},
		{"a bug shows otherwise", bug, `{"ok":false,"broken":{"altered":2}}`, 1, []string{"altered"}, "SURVIVES", false},
		{"a bug does not show", bug, `{"ok":true}`, 0, nil, "SURVIVES", false},
		{"the verdict is bad and nothing was found", control, `{"ok":false}`, 1, nil, "", false},
		{"the verdict is good and something was found", control, `{"ok":true,"broken":{"lost":1}}`, 0, nil, "", false},
		{"the verdict is not the status", control, `{"ok":true}`, 1, nil, "", false},
		{"there is no report", control, ``, 1, nil, "", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			found, kept, err := x.m.hunt(t.Context(), program(t, x.report, x.status), "")
			if (err != nil) != (x.word == "") {
				t.Fatalf("got the error %v", err)
			}
			if err != nil {
				return
			}
			word, ok := x.m.verdict(found, kept)
			if !slices.Equal(found, x.found) || word != x.word || ok != x.ok {
				t.Errorf("got %v, %q and %v, want %v, %q and %v", found, word, ok, x.found, x.word, x.ok)
			}
		})
	}
}

// TestCIPlantsABugForEachChecker reads which bugs .ci/run plants: there is not the time for all.
func TestCIPlantsABugForEachChecker(t *testing.T) {
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`MUTANTS="([^"]*)"`).FindSubmatch(script)
	if list == nil {
		t.Fatal(".ci/run names no bugs")
	}
	names := strings.Fields(string(list[1]))
	var caught []string // by the bugs of CI
	for _, name := range names {
		i := slices.IndexFunc(mutants, func(m mutant) bool { return m.title() == name })
		if i < 0 {
			t.Errorf(".ci/run plants %q, which is no bug", name)
			continue
		}
		caught = append(caught, mutants[i].violations...)
	}
	if !slices.Contains(names, "none") {
		t.Error(`.ci/run does not torture Waybill without a bug ("none")`)
	}
	for _, m := range mutants {
		for _, checker := range m.violations {
			if !slices.Contains(caught, checker) {
				t.Errorf("%s finds %q, which no bug of .ci/run sets off", checker, m.name)
			}
		}
	}
}
