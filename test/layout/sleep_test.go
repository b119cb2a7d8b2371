package layout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// sleepers are the files of tests that may sleep, each with the reason.
var sleepers = map[string]string{
	"waybilltest/world.go":       "all of it is in a bubble, which its New makes sure of",
	"test/journey/bench_test.go": "a benchmark looks at a counter without a cost that counts",
}

func TestNoTestSleepsToWaitForSomething(t *testing.T) {
	problems, err := sleepProblems(repository, sleepers)
	if err != nil {
		t.Fatal(err)
	}
	report(t, problems)
}

// isOfTests reports whether a file belongs to the tests: by its own name, or by that of a
// directory, such as brokertest/ or test/.
func isOfTests(name string) bool {
	return isGo(name) && (strings.HasSuffix(name, "_test.go") || slices.ContainsFunc(strings.Split(path.Dir(name), "/"), func(dir string) bool {
		return strings.HasSuffix(dir, "test")
	}))
}

// sleepProblems names the places at which tests sleep of a clock that is not a bubble's of
// testing/synctest, but for those in files that may, and the files that may and do not.
func sleepProblems(root fs.FS, may map[string]string) (problems []string, err error) {
	names, err := files(root, isOfTests)
	if err != nil {
		return nil, err
	}
	sleeping := map[string]bool{}
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		places, err := sleeps(name, text)
		if err != nil {
			return nil, err
		}
		sleeping[name] = len(places) > 0
		if _, ok := may[name]; ok {
			continue
		}
		for _, place := range places {
			problems = append(problems, fmt.Sprintf("%s sleeps: wait for what is to happen, with package internal/test/patience, or in a bubble of testing/synctest", place))
		}
	}
	for name := range may {
		if !sleeping[name] {
			problems = append(problems, fmt.Sprintf("%s may sleep, by sleepers in test/layout, and does not: take it off the list", name))
		}
	}
	return problems, nil
}

// sleeps returns the places of a file's calls of time.Sleep, but for those in functions that
// are given to synctest.Test, and those in a line whose comment says that the time is a
// bubble's.
func sleeps(name string, text []byte) (places []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	clock, bubble := importedAs(file, "time"), importedAs(file, "testing/synctest")
	said := map[int]bool{}
	for _, group := range file.Comments {
		said[set.Position(group.Pos()).Line] = strings.Contains(group.Text(), "bubble")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		switch {
		case !ok:
			return true
		case isCall(call, bubble, "Test"):
			return false
		case isCall(call, clock, "Sleep"):
			if line := set.Position(call.Pos()).Line; !said[line] {
				places = append(places, fmt.Sprintf("%s:%d", name, line))
			}
		}
		return true
	})
	return places, nil
}

// importedAs is the name by which a file knows a package; "" where it does not import it.
func importedAs(file *ast.File, importPath string) string {
	for _, spec := range file.Imports {
		if value, err := strconv.Unquote(spec.Path.Value); err != nil || value != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// isCall reports whether a call is of this function of the package that is known by this
// name.
func isCall(call *ast.CallExpr, pkg, function string) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || pkg == "" || selector.Sel.Name != function {
		return false
	}
	of, ok := selector.X.(*ast.Ident)
	return ok && of.Name == pkg
}

func TestATestThatSleepsIsFound(t *testing.T) {
	file := func(imports, body string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package p\n" + imports + "\nfunc f() {\n" + body + "\n}\n")}
	}
	const clock, bubble = `import "time"`, "import \"time\"\nimport \"testing/synctest\""
	for _, c := range []struct {
		what string
		disk fstest.MapFS
		may  map[string]string
		want []string
	}{
		{"a sleep", fstest.MapFS{"a/a_test.go": file(clock, "time.Sleep(time.Second)")}, nil, []string{"a/a_test.go:4 sleeps"}},
		{"under another name", fstest.MapFS{"a/a_test.go": file(`import clock "time"`, "clock.Sleep(1)")}, nil, []string{"a/a_test.go:4 sleeps"}},
		{"in a function within", fstest.MapFS{"a/a_test.go": file(clock, "go func() { time.Sleep(1) }()")}, nil, []string{"a/a_test.go:4 sleeps"}},
		{"in a package for tests", fstest.MapFS{"a/btest/b.go": file(clock, "time.Sleep(1)")}, nil, []string{"a/btest/b.go:4 sleeps"}},
		{"in a bubble", fstest.MapFS{"a/a_test.go": file(bubble, "synctest.Test(nil, func(t *testing.T) { time.Sleep(1) })")}, nil, nil},
		{"for a bubble's test", fstest.MapFS{"a/a_test.go": file(clock, "time.Sleep(1) // of the bubble's time")}, nil, nil},
		{"beside a bubble", fstest.MapFS{"a/a_test.go": file(bubble, "synctest.Test(nil, f)\ntime.Sleep(1)")}, nil, []string{"a/a_test.go:6 sleeps"}},
		{"in a program", fstest.MapFS{"a/a.go": file(clock, "time.Sleep(1)")}, nil, nil},
		{"where it may", fstest.MapFS{"a/a_test.go": file(clock, "time.Sleep(1)")}, map[string]string{"a/a_test.go": "why"}, nil},
		{"where it may and does not", fstest.MapFS{"a/a_test.go": file(clock, "")}, map[string]string{"a/a_test.go": "why"}, []string{"a/a_test.go may sleep"}},
		{"something else", fstest.MapFS{"a/a_test.go": file(clock, "_ = time.Now()")}, nil, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			problems, err := sleepProblems(c.disk, c.may)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, problems, c.want...)
		})
	}
}
