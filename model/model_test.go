// Package model checks that the protocol's models speak of the code that is there.
// TLC checks the models themselves: make model.
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
	configured = regexp.MustCompile(`^\\\* module: (\w+)\n`)
)

// modules are the models, with the number of actions that each has at least.
var modules = map[string]int{"Waybill": 20, "Consumers": 12}

func TestEveryActionNamesCodeThatExists(t *testing.T) {
	files := map[string]map[string]bool{}
	for module, least := range modules {
		definitions := definitions(t, module)
		actions := actions(t, definitions["Next"])
		if len(actions) < least {
			t.Fatalf("%s: Next has %d actions; it had %d or more", module, len(actions), least)
		}
		for _, a := range actions {
			if _, ok := definitions[a.name]; !ok {
				t.Errorf("%s: Next names %s, which is not defined", module, a.name)
			}
			if a.code == "" {
				t.Errorf(`%s: %s has no comment "\* code: file.go Name" in Next`, module, a.name)
				continue
			}
			for place := range strings.SplitSeq(a.code, ";") {
				file, names, _ := strings.Cut(strings.TrimSpace(place), " ")
				if files[file] == nil {
					files[file] = declared(t, file)
				}
				if strings.TrimSpace(names) == "" {
					t.Errorf("%s: %s: %s names nothing in it", module, a.name, file)
				}
				for name := range strings.SplitSeq(names, ",") {
					if name = strings.TrimSpace(name); !files[file][name] {
						t.Errorf("%[1]s stands for %[2]s in %[3]s, which is not there: say in model/%[4]s.tla which code it stands for", a.name, name, file, module)
					}
				}
			}
		}
	}
}

func TestEveryActionIsInNext(t *testing.T) {
	for module := range modules {
		definitions := definitions(t, module)
		used := map[string]bool{}
		for _, a := range actions(t, definitions["Next"]) {
			used[a.name] = true
		}
		if !used["Handle"] {
			t.Fatalf("%s: Next was not understood: %v", module, used)
		}
		for name, body := range definitions {
			if !primed.MatchString(body) || used[name] {
				continue
			}
			// Not an action of its own, but a part of some.
			part := regexp.MustCompile(`\b` + name + `\b`)
			if !slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(a string) bool { return part.MatchString(definitions[a]) }) {
				t.Errorf("%s: %s changes variables and is no part of Next", module, name)
			}
		}
	}
}

func TestEveryModuleIsListed(t *testing.T) {
	files, err := filepath.Glob("*.tla")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		found = append(found, strings.TrimSuffix(file, ".tla"))
	}
	if listed := slices.Sorted(maps.Keys(modules)); !slices.Equal(found, listed) {
		t.Errorf("there are the modules %v, and the tests know of %v", found, listed)
	}
}

func TestEveryMutantIsRun(t *testing.T) {
	known := map[string]map[string]bool{} // of each module
	for module := range modules {
		known[module] = map[string]bool{}
		for _, m := range mutant.FindAllStringSubmatch(read(t, module+".tla"), -1) {
			known[module][m[1]] = false
		}
	}
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
		module := configured.FindStringSubmatch(config)
		if module == nil || known[module[1]] == nil {
			t.Errorf("%s.cfg does not begin with the name of its module", fields[0])
			continue
		}
		constants := map[string]bool{}
		for _, c := range constant.FindAllStringSubmatch(config, -1) {
			constants[c[1]] = true
		}
		if _, ok := definitions(t, module[1])[expected]; expected != "holds" && (!ok || !strings.Contains(config, "  "+expected+"\n")) {
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
			value = strings.Trim(value, `"`)
			if _, ok := known[module[1]][value]; !ok {
				t.Errorf("runs: the module %s has no mutant %q", module[1], value)
			}
			known[module[1]][value] = true
		}
	}
	for module, mutants := range known {
		for m, isRun := range mutants {
			if !isRun {
				t.Errorf("the mutant %q of %s is never run", m, module)
			}
		}
	}
}

// definitions returns the body of each of a module's definitions.
func definitions(t *testing.T, module string) map[string]string {
	t.Helper()
	text := read(t, module+".tla")
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
		t.Errorf("a model names a file that cannot be read: %v", err)
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
