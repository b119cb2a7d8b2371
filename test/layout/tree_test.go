package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheTreeOfPackagesIsTheDisk(t *testing.T) {
	disk, err := goDirs(repository)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := readTree(fence(section(read(t, design), "## Packages"), "text"))
	if err != nil {
		t.Fatalf("%s: %v", design, err)
	}
	report(t, treeProblems(tree, disk, isDir(repository)))
}

// readTree reads the directories of a tree: one a line, two blanks deeper than the one
// that it is in, its name with a slash and, behind blanks, what it is for.
func readTree(block string) ([]string, error) {
	var dirs, parents []string
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimLeft(line, " ")
		if text == "" {
			continue
		}
		indent := len(line) - len(text)
		name, what, _ := strings.Cut(text, " ")
		depth := indent / 2
		switch {
		case !strings.HasSuffix(name, "/"):
			return nil, fmt.Errorf("the tree's line %q does not begin with the name of a directory and a slash", line)
		case strings.TrimSpace(what) == "":
			return nil, fmt.Errorf("the tree's line %q does not say what the directory is for", line)
		case indent%2 != 0 || depth > len(parents):
			return nil, fmt.Errorf("the tree's line %q is in no directory: it is indented by %d blanks", line, indent)
		}
		parents = append(parents[:depth], strings.TrimSuffix(name, "/"))
		dirs = append(dirs, path.Join(parents...))
	}
	if len(dirs) == 0 {
		return nil, errors.New("there is no tree: it is the first block of the language text below the heading Packages")
	}
	return dirs, nil
}

// goDirs are the directories that hold Go files, and those that they are in; of a module of
// its own the uppermost alone.
func goDirs(root fs.FS) ([]string, error) {
	names, err := files(root, isGo)
	if err != nil {
		return nil, err
	}
	modules, err := files(root, func(name string) bool { return path.Base(name) == "go.mod" && path.Dir(name) != "." })
	var dirs []string
	for _, name := range names {
		dir := path.Dir(name)
		for _, m := range modules {
			if strings.HasPrefix(dir, path.Dir(m)+"/") {
				dir = path.Dir(m)
			}
		}
		for ; !slices.Contains(dirs, dir); dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs, err
}

func isDir(root fs.FS) func(name string) bool {
	return func(name string) bool {
		info, err := fs.Stat(root, name)
		return err == nil && info.IsDir()
	}
}

// treeProblems says what a tree has that the disk has not, and what it lacks.
// Directories without Go code may be in it.
func treeProblems(tree, disk []string, exists func(string) bool) (problems []string) {
	for _, dir := range disk {
		if !slices.Contains(tree, dir) {
			problems = append(problems, fmt.Sprintf("the tree of %s lacks the directory %s/: add a line", design, dir))
		}
	}
	for i, dir := range tree {
		switch {
		case slices.Contains(tree[:i], dir):
			problems = append(problems, fmt.Sprintf("the tree of %s has %s/ twice", design, dir))
		case !exists(dir):
			problems = append(problems, fmt.Sprintf("the tree of %s has a directory %s/, which is not on the disk", design, dir))
		}
	}
	return problems
}

func TestATreeThatIsNotTheDiskIsFound(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("package p\n")}
	disk := fstest.MapFS{
		"go.go": file, "a/a.go": file, "a/b/c/c.go": file, "d/d_test.go": file,
		"docs/x.md": file, "a/testdata/t.go": file, ".hidden/h.go": file,
		"m/go.mod": file, "m/m.go": file, "m/n/n.go": file,
	}
	dirs, err := goDirs(disk)
	if want := []string{".", "a", "a/b", "a/b/c", "d", "m"}; err != nil || !slices.Equal(dirs, want) {
		t.Fatalf("got the directories %q, %v; want %q", dirs, err, want)
	}
	for _, c := range []struct {
		what, tree string
		want       []string
	}{
		{"the disk", "./ root\na/ first\n  b/ second\n    c/ third\nd/ fourth\nm/ fifth\n", nil},
		{"with a directory that has no Go code", "./ root\na/ x\n  b/ x\n    c/ x\nd/ x\nm/ x\ndocs/ pages\n", nil},
		{"one is missing", "./ root\na/ x\n  b/ x\nd/ x\nm/ x\n", []string{"lacks the directory a/b/c/"}},
		{"one is somewhere else", "./ root\na/ x\n  b/ x\nc/ x\nd/ x\nm/ x\n", []string{"lacks the directory a/b/c/", "has a directory c/, which is not on the disk"}},
		{"one is there twice", "./ root\na/ x\n  b/ x\n    c/ x\nd/ x\nd/ x\nm/ x\n", []string{"has d/ twice"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			tree, err := readTree(c.tree)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, treeProblems(tree, dirs, isDir(disk)), c.want...)
		})
	}
}

func TestATreeThatCannotBeReadIsFound(t *testing.T) {
	for _, c := range []struct{ block, want string }{
		{"a.go what it is", "a slash"},
		{"a/", "what the directory is for"},
		{"a/ x\n   b/ x", "3 blanks"},
		{"a/ x\n    b/ x", "4 blanks"},
		{"", "no tree"},
	} {
		t.Run(c.block, func(t *testing.T) {
			if _, err := readTree(c.block); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got the error %v, want one with %q", err, c.want)
			}
		})
	}
}
