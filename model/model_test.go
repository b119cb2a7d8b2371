// Package model checks that the protocol's model speaks of the code that is there.
// TLC checks the model itself: make model.
package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// action is a line of Next: an action, and the code that it stands for.
type action struct {
	name string
	code string // "file.go Name, Name; file.go Name"
}

var (
	definition = regexp.MustCompile(`(?m)^(\w+)(?:\([^)]*\))? ==`)
	use        = regexp.MustCompile(`^\W*(?:\\E \w+ \\in \w+ :)?\W*(\w+)(?:\([\w, ]*\))?\s*(?:\\\* code: (.*))?$`)
	quantifier = regexp.MustCompile(`\\E \w+ \\in \w+ :`)
	primed     = regexp.MustCompile(`\w'`)
	mutant     = regexp.MustCompile(`Mutant (?:=|#) "([^"]+)"`)
	constant   = regexp.MustCompile(`(?m)^  (\w+) = `)
)

func TestEveryActionNamesCodeThatExists(t *testing.T) {
	definitions := definitions(t)
	actions := actions(t, definitions["Next"])
	if len(actions) < 20 {
		t.Fatalf("Next has %d actions; it had more than 20", len(actions))
	}
	files := map[string]map[string]bool{}
	for _, a := range actions {
		if _, ok := definitions[a.name]; !ok {
			t.Errorf("Next names %s, which is not defined", a.name)
		}
		if a.code == "" {
			t.Errorf(`%s has no comment "\* code: file.go Name" in Next`, a.name)
			continue
		}
		for place := range strings.SplitSeq(a.code, ";") {
			file, names, _ := strings.Cut(strings.TrimSpace(place), " ")
			if files[file] == nil {
				files[file] = declared(t, file)
			}
			if strings.TrimSpace(names) == "" {
				t.Errorf("%s: %s names nothing in it", a.name, file)
			}
			for name := range strings.SplitSeq(names, ",") {
				if name = strings.TrimSpace(name); !files[file][name] {
					t.Errorf("%s stands for %s in %s, which is not there: say in model/Waybill.tla which code it stands for", a.name, name, file)
				}
			}
		}
	}
}

func TestEveryActionIsInNext(t *testing.T) {
	definitions := definitions(t)
	used := map[string]bool{}
	for _, a := range actions(t, definitions["Next"]) {
		used[a.name] = true
	}
	if !used["Send"] || !used["Handle"] {
		t.Fatalf("Next was not understood: %v", used)
	}
	for name, body := range definitions {
		if !primed.MatchString(body) || used[name] {
			continue
		}
		// Not an action of its own, but a part of some.
		part := regexp.MustCompile(`\b` + name + `\b`)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(a string) bool { return part.MatchString(definitions[a]) }) {
			t.Errorf("%s changes variables and is no part of Next", name)
		}
	}
}

func TestEveryMutantIsRun(t *testing.T) {
	known := map[string]bool{}
	for _, m := range mutant.FindAllStringSubmatch(read(t, "Waybill.tla"), -1) {
		known[m[1]] = true
	}
	definitions := definitions(t)
	run := map[string]bool{}
	for line := range strings.Lines(read(t, "runs")) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 2 {
			t.Errorf("runs: %q expects nothing", line)
			continue
		}
		config, expected := read(t, fields[0]+".cfg"), fields[1]
		constants := map[string]bool{}
		for _, c := range constant.FindAllStringSubmatch(config, -1) {
			constants[c[1]] = true
		}
		if _, ok := definitions[expected]; expected != "holds" && (!ok || !strings.Contains(config, "  "+expected+"\n")) {
			t.Errorf("runs: %s.cfg does not check %s", fields[0], expected)
		}
		for _, change := range fields[2:] {
			name, value, _ := strings.Cut(change, "=")
			if !constants[name] {
				t.Errorf("runs: %s.cfg has no constant %s", fields[0], name)
			}
			if name != "Mutant" {
				continue
			}
			if value = strings.Trim(value, `"`); !known[value] {
				t.Errorf("runs: the model has no mutant %q", value)
			}
			run[value] = true
		}
	}
	for m := range known {
		if !run[m] {
			t.Errorf("the mutant %q is never run", m)
		}
	}
}

// definitions returns the body of each of the module's definitions.
func definitions(t *testing.T) map[string]string {
	t.Helper()
	text := read(t, "Waybill.tla")
	found := map[string]string{}
	places := definition.FindAllStringSubmatchIndex(text, -1)
	for i, p := range places {
		end := len(text)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		body, _, _ := strings.Cut(text[p[1]:end], "\n\n") // without the next one's comment
		found[text[p[2]:p[3]]] = body
	}
	return found
}

// actions reads Next, which has one action a line.
func actions(t *testing.T, next string) []action {
	t.Helper()
	var found []action
	for line := range strings.Lines(next) {
		line = strings.TrimSpace(line)
		bare, _, _ := strings.Cut(quantifier.ReplaceAllString(line, ""), `\*`)
		if strings.Trim(bare, ` \/`) == "" {
			continue // only a quantifier
		}
		m := use.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("Next has a line that is no single action: %s", line)
		}
		found = append(found, action{name: m[1], code: m[2]})
	}
	return found
}

// declared returns the names that a Go file declares: of functions, methods, types,
// variables and constants.
func declared(t *testing.T, file string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("model/Waybill.tla names a file that cannot be read: %v", err)
		return names
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
