package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// seams are the names under which outbox, relay and inbox hold a database or a broker,
// and quiet those of their methods that ask nothing of either.
var (
	seams = []string{"queue", "ledger", "db", "tx", "broker", "conn", "receiver", "publish"}
	quiet = []string{"Capabilities", "CloseIdle", "Condition", "Done", "Err", "Forsake", "Full", "Intact", "IsSmall", "Older", "OnSuperseded", "SQL", "Settled", "Source"}
)

// TestEveryStepIsBetweenPoints reads outbox, relay and inbox: a statement that calls a
// database or a broker has its two points directly around it.
func TestEveryStepIsBetweenPoints(t *testing.T) {
	files := token.NewFileSet()
	steps := 0
	for _, dir := range []string{"outbox", "relay", "inbox"} {
		paths, err := filepath.Glob("../../" + dir + "/*.go")
		if err != nil || len(paths) == 0 {
			t.Fatal(dir, paths, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if isMutant(n) {
					return false
				}
				list := statements(n)
				for i, s := range list {
					call := step(s)
					if call == "" {
						continue
					}
					steps++
					if i == 0 || i+1 == len(list) || !surround(list[i-1], list[i+1]) {
						t.Errorf("%s: %s is not between two points", files.Position(s.Pos()), call)
					}
				}
				return true
			})
		}
	}
	t.Logf("%d steps", steps)
}

// isMutant says whether n is what a planted bug does.
func isMutant(n ast.Node) bool {
	branch, ok := n.(*ast.IfStmt)
	if !ok {
		return false
	}
	planted := false
	ast.Inspect(branch.Cond, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		planted = planted || ok && name.Name == "mutant"
		return true
	})
	return planted
}

// statements are those that n has in a row.
func statements(n ast.Node) []ast.Stmt {
	switch n := n.(type) {
	case *ast.BlockStmt:
		return n.List
	case *ast.CaseClause:
		return n.Body
	case *ast.CommClause:
		return n.Body
	}
	return nil
}

// step returns the call of a database or a broker that a statement makes by itself, and
// not in a block of its own; "" for none.
func step(s ast.Stmt) (call string) {
	ast.Inspect(s, func(n ast.Node) bool {
		if n == nil || statements(n) != nil {
			return false
		}
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := c.Fun.(*ast.SelectorExpr)
		if !ok || slices.Contains(quiet, method.Sel.Name) || !method.Sel.IsExported() {
			return true
		}
		seam := ""
		switch x := method.X.(type) {
		case *ast.Ident:
			seam = x.Name
		case *ast.SelectorExpr:
			seam = x.Sel.Name
		}
		// The package broker has no step among its functions.
		if slices.Contains(seams, seam) && (seam != "broker" || method.Sel.Name == "Connect") {
			call = seam + "." + method.Sel.Name
		}
		return true
	})
	return call
}

// surround says whether two statements are one step's points.
func surround(before, after ast.Stmt) bool {
	from, to := pointOf(before), pointOf(after)
	name, ok := strings.CutSuffix(from, ".before")
	return ok && to == name+".after"
}

// pointOf is the name of the point that a statement is; "" for none.
func pointOf(s ast.Stmt) string {
	x, ok := s.(*ast.ExprStmt)
	if !ok {
		return ""
	}
	call, ok := x.X.(*ast.CallExpr)
	if !ok || !isPoint(call) {
		return ""
	}
	return literal(call)
}
