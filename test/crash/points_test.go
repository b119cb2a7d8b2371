package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources are the packages whose points are looked for, from here.
var sources = []string{"../../outbox", "../../relay", "../../inbox", "../../store"}

var pointName = regexp.MustCompile(`^([a-z]+)\.[a-z]+\.(before|after)$`)

// readPoints finds every crash.Point in the sources. Each has a name of its own, of
// its package, and a step has both a before and an after.
func readPoints(t *testing.T) []string {
	t.Helper()
	found := map[string]token.Position{}
	files := token.NewFileSet()
	for _, dir := range sources {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || !isPoint(call) {
					return true
				}
				at := files.Position(call.Pos())
				name := literal(call)
				match := pointName.FindStringSubmatch(name)
				if match == nil || match[1] != file.Name.Name {
					t.Errorf("%s: the point %q is not called %s.<step>.<before|after>", at, name, file.Name.Name)
				}
				if before, twice := found[name]; twice {
					t.Errorf("%s: the point %s is at %s, too", at, name, before)
				}
				found[name] = at
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
		step := name[:strings.LastIndex(name, ".")+1]
		for _, other := range []string{step + "before", step + "after"} {
			if _, there := found[other]; !there {
				t.Errorf("there is a point %s and none %s", name, other)
			}
		}
	}
	slices.Sort(names)
	return names
}

// isPoint says whether a call is one of crash.Point.
func isPoint(call *ast.CallExpr) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != "Point" {
		return false
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && from.Name == "crash"
}

// literal is the string that a call has for its argument; "" where it has another one.
func literal(call *ast.CallExpr) string {
	if len(call.Args) != 1 {
		return ""
	}
	value, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(value.Value)
	if err != nil {
		return ""
	}
	return text
}

// role says who passes a point.
func role(point string) string {
	switch of, step, _ := parts(point); {
	case of == "outbox":
		return "producer"
	case of == "relay", step == "lease":
		return "relay"
	case of == "inbox", step == "horizon", step == "forget":
		return "consumer"
	}
	return ""
}

// rough says whether a point is passed only where things go wrong.
func rough(point string) bool {
	switch of, step, _ := parts(point); of {
	case "relay":
		return slices.Contains([]string{"rows", "copies", "backlog", "find", "reject", "postpone", "twin",
			"answered", "gap", "past", "known", "note", "answers", "finish", "parked", "orphans", "owners", "bury", "trip", "why", "whyover", "standby"}, step)
	case "inbox":
		return slices.Contains([]string{"keep", "keepagain", "waiting", "kept", "take", "probe", "alive", "unsubscribe", "trip"}, step)
	}
	return false
}

// onStop says whether a point is passed only by a process that stops, where nothing
// goes wrong.
func onStop(point string) bool {
	_, step, _ := parts(point)
	return step == "close" || step == "release"
}

// rare says whether a point is passed at most once a journey: there is one record
// that may be forgotten.
func rare(point string) bool {
	_, step, _ := parts(point)
	return step == "forget"
}

// again says whether a process passes a point again and again.
func again(point string) bool {
	of, step, _ := parts(point)
	setUp := slices.Contains([]string{"schema", "check", "due", "tables", "previous", "acquire", "lease", "clock", "identity", "hello", "connect", "subscribe", "close", "release", "notify"}, step)
	return !setUp && !rough(point) && !rare(point) && of != "store"
}

func parts(point string) (of, step, side string) {
	of, rest, _ := strings.Cut(point, ".")
	step, side, _ = strings.Cut(rest, ".")
	return of, step, side
}
