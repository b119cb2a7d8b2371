package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commandLine is a command as a page's block or code span shows it, up to where the shell
// goes on with another one.
var commandLine = regexp.MustCompile("(?m)(?:^|`)(?:timeout \\d+ )?waybill ([a-z][^`|&>#\n]*)")

func TestTheCommandLinesOfThePagesAreRight(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (strings.HasPrefix(name, ".") && path != root || name == "testdata" || name == "bin") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" || entry.Name() == "CHANGELOG.md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page := strings.ReplaceAll(string(text), "\\\n", " ") // lines that go on
		for _, m := range commandLine.FindAllStringSubmatch(page, -1) {
			found++
			if problem := wrongCommandLine(words(m[1])); problem != "" {
				t.Errorf("%s: waybill %s: %s", path, strings.TrimSpace(m[1]), problem)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 30 {
		t.Errorf("found %d command lines in the pages", found)
	}
}

// wrongCommandLine says what is wrong with a command line: a command or a flag that is not
// there, or a flag's value.
func wrongCommandLine(args []string) string {
	root, _ := newRoot()
	command, rest, err := root.Find(args)
	if err != nil {
		return err.Error()
	}
	err = command.ParseFlags(rest)
	if err == nil || strings.HasPrefix(err.Error(), "flag needs an argument") { // a text that names the flag alone
		return ""
	}
	return err.Error()
}

// words takes a command line apart as a shell does, roughly. What a page leaves out ("…")
// is left out.
func words(line string) (all []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		if word := m[1] + m[2]; word != "…" {
			all = append(all, word)
		}
	}
	return all
}

func TestCommandLinesThatAreWrongAreFound(t *testing.T) {
	for line, want := range map[string]string{
		"relay --producer shop --poll 1s": "",
		"send orders --body 'a b'":        "",
		"reley --producer shop":           "unknown command",
		"relay --produser shop":           "unknown flag: --produser",
		"relay --poll soon":               "invalid argument",
	} {
		got := wrongCommandLine(words(line))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}
