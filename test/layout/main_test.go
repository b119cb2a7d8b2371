// Package layout compares the maps of this repository with the repository: the tree of
// packages and the layers in docs/design.md with the disk and with the packages'
// imports, the glossary with the package comment, and the links and names in all
// documents with what they lead to. And it finds tests that sleep.
//
// Each comparison is a function that returns what is wrong, a sentence each. It is tried
// on made-up input first, which it has to find fault with, and then on the repository.
//
// The files: tree_test.go (the tree of packages), layer_test.go (who may import whom),
// link_test.go (links, and the names of functions, files, tests and make targets),
// snippet_test.go (the Go code of the pages), translation_test.go (the Chinese README),
// lean_test.go (what is linked with which tags),
// word_test.go (the glossary and the package comment), sleep_test.go (no test sleeps in
// order to wait), page_test.go (what all of them need to read a page).
package layout

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// module begins the import path of every package.
const module = "github.com/waybill-go/waybill"

// design is the page with the tree and the layers.
const design = "docs/design.md"

// repository is the root of the checkout.
var repository = os.DirFS("../..")

// read returns the text of a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(repository, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// report fails the test with each of the problems.
func report(t *testing.T, problems []string) {
	t.Helper()
	for _, problem := range problems {
		t.Error(problem)
	}
}

// expect fails the test unless there is one problem for each of want, that has it in it,
// and none besides.
func expect(t *testing.T, problems []string, want ...string) {
	t.Helper()
	for _, part := range want {
		i := slices.IndexFunc(problems, func(p string) bool { return strings.Contains(p, part) })
		if i < 0 {
			t.Errorf("got the problems %q, want one with %q", problems, part)
			continue
		}
		problems = slices.Delete(slices.Clone(problems), i, i+1)
	}
	if len(problems) > 0 {
		t.Errorf("got the problems %q, too; want %q alone", problems, want)
	}
}

// files returns the names of the files below root that match, without those that are no
// part of the source: hidden directories but .github, testdata, and what builds leave.
func files(root fs.FS, match func(name string) bool) ([]string, error) {
	var found []string
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			hidden := strings.HasPrefix(base, ".") && name != "." && name != ".github"
			if hidden || base == "testdata" || name == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if match(name) {
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

func isGo(name string) bool   { return strings.HasSuffix(name, ".go") }
func isPage(name string) bool { return strings.HasSuffix(name, ".md") }
