package layout

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

func TestLinksAndNamesLeadSomewhere(t *testing.T) {
	pages, err := files(repository, isPage)
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 8 {
		t.Fatalf("found the pages %q alone", pages)
	}
	known, err := knownNames(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			report(t, pageProblems(repository, known, page))
		})
	}
}

func TestPagesThatCodeNamesAreThere(t *testing.T) {
	code, err := files(repository, func(name string) bool {
		return !isPage(name) && !strings.HasPrefix(name, "test/layout/")
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range code {
		for _, page := range pageInCode.FindAllString(read(t, name), -1) {
			named++
			if _, err := fs.Stat(repository, page); err != nil {
				t.Errorf("%s names %s, which is not there", name, page)
			}
		}
	}
	if named < 10 {
		t.Errorf("found %d names of pages in the code", named)
	}
}

// pageInCode is a page as comments, help texts, errors and scripts name it.
var pageInCode = regexp.MustCompile(`\bdocs/[\w/-]+\.md\b`)

// names are what pages name besides files.
type names struct {
	top     []string // the directories of the root
	targets []string // of the Makefile
	tests   []string // functions that begin with Test, Fuzz or Benchmark
}

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	testName   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

func knownNames(root fs.FS) (names, error) {
	var n names
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return n, err
	}
	for _, e := range entries {
		if e.IsDir() && (!strings.HasPrefix(e.Name(), ".") || e.Name() == ".github") && e.Name() != "bin" {
			n.top = append(n.top, e.Name())
		}
	}
	if makefile, err := fs.ReadFile(root, "Makefile"); err == nil {
		for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
			n.targets = append(n.targets, m[1])
		}
	}
	tests, err := files(root, isTest)
	if err != nil {
		return n, err
	}
	for _, name := range tests {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return n, err
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			n.tests = append(n.tests, m[1])
		}
	}
	return n, nil
}

var (
	pageLink  = regexp.MustCompile(`\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)`)
	scheme    = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	goName    = regexp.MustCompile(`^[\pL_][\pL\pN_]*(\.[\pL_][\pL\pN_]*)?(\(.*\))?$`)
	pathName  = regexp.MustCompile(`^[\w.@-]+(/[\w.@-]+)*/?$`)
	makeUse   = regexp.MustCompile(`(?m)^(?:[A-Z]+=\S+ )*make ([a-z][a-z-]*)`)
	testInUse = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)\p{Lu}\w+$`)
)

// pageProblems says which links of a page lead nowhere: to a file or heading that is not
// there, or, where a link's text is a name and it leads to a Go file, to a file that
// does not declare the name (Name, or Type.Name where several have one). Code spans that
// are paths, tests and make targets have to exist, too.
func pageProblems(root fs.FS, known names, page string) (problems []string) {
	text, err := fs.ReadFile(root, page)
	if err != nil {
		return []string{err.Error()}
	}
	prose := withoutFences(string(text))
	for _, m := range pageLink.FindAllStringSubmatchIndex(prose, -1) {
		at := fmt.Sprintf("%s:%d", page, 1+strings.Count(prose[:m[0]], "\n"))
		if problem := linkProblem(root, page, prose[m[2]:m[3]], prose[m[4]:m[5]]); problem != "" {
			problems = append(problems, at+": "+problem)
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatchIndex(prose, -1) {
		at := fmt.Sprintf("%s:%d", page, 1+strings.Count(prose[:m[0]], "\n"))
		code := prose[m[2]:m[3]]
		if problem := nameProblem(root, known, page, code); problem != "" {
			problems = append(problems, at+": "+problem)
		}
		problems = append(problems, targetProblems(known, page, code)...)
	}
	return append(problems, targetProblems(known, page, onlyFences(string(text)))...)
}

// targetProblems says which targets the Makefile does not have that commands name.
func targetProblems(known names, page, commands string) (problems []string) {
	for _, m := range makeUse.FindAllStringSubmatch(commands, -1) {
		if !slices.Contains(known.targets, m[1]) {
			problems = append(problems, fmt.Sprintf("%s: the Makefile has no target %s", page, m[1]))
		}
	}
	return problems
}

// linkProblem says why a link leads nowhere; "" where it leads somewhere, or out of the
// repository.
func linkProblem(root fs.FS, page, text, target string) string {
	if scheme.MatchString(target) {
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	name := page
	if file != "" {
		name = path.Join(path.Dir(page), file)
	}
	info, err := fs.Stat(root, name)
	if err != nil {
		return fmt.Sprintf("the link to %s leads to %s, which is not there", target, name)
	}
	if info.IsDir() {
		return ""
	}
	content, err := fs.ReadFile(root, name)
	if err != nil {
		return err.Error()
	}
	if anchor != "" && isPage(name) && !slices.Contains(anchors(string(content)), anchor) {
		return fmt.Sprintf("the link to %s leads to the heading #%s, which %s does not have", target, anchor, name)
	}
	code := codeSpan.FindStringSubmatch(text)
	if code == nil || code[0] != text || !isGo(name) {
		return ""
	}
	if code[1] == name || code[1] == path.Dir(name) || code[1] == path.Base(name) {
		return ""
	}
	if !goName.MatchString(code[1]) {
		return fmt.Sprintf("the text of the link to %s is %s, which is no name of something in Go", target, text)
	}
	declared, err := declarations(name, content)
	if err != nil {
		return err.Error()
	}
	wanted, _, _ := strings.Cut(code[1], "(")
	return declarationProblem(root, name, wanted, declared)
}

// declarationProblem says why a link to a Go file is not one to what its text names: the
// file does not declare it, several things of the package have that name, or the file has
// only an interface's method or a field where another one has the code.
func declarationProblem(root fs.FS, name, wanted string, declared []declaration) string {
	all, err := packageDeclarations(root, name)
	if err != nil {
		return err.Error()
	}
	matches := func(d declaration) bool { return d.name == wanted || d.qualified() == wanted }
	here, everywhere := only(declared, matches), only(all, matches)
	if len(here) == 0 {
		if len(everywhere) > 0 {
			return fmt.Sprintf("%s is not declared in %s, but in %s", wanted, name, everywhere[0].file)
		}
		return fmt.Sprintf("%s is not declared in %s", wanted, name)
	}
	if !strings.Contains(wanted, ".") {
		best := slices.MaxFunc(everywhere, func(a, b declaration) int { return cmp.Compare(a.rank, b.rank) })
		isBest := func(d declaration) bool { return d.rank == best.rank }
		switch first := here[0]; {
		case slices.ContainsFunc(here, isBest):
			here, everywhere = only(here, isBest), only(everywhere, isBest)
		case !slices.ContainsFunc(here, func(d declaration) bool { return d.rank > member }):
			return fmt.Sprintf("%s is only a field or an interface's method in %s; what does the work is in %s", wanted, name, best.file)
		default:
			return fmt.Sprintf("%s may be %s in %s or %s in %s: write which", wanted, first.qualified(), name, best.qualified(), best.file)
		}
	}
	for _, d := range everywhere {
		if d.qualified() != here[0].qualified() {
			return fmt.Sprintf("%s may be %s in %s or %s in %s: write which", wanted, here[0].qualified(), name, d.qualified(), d.file)
		}
	}
	return ""
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

func only(all []declaration, which func(declaration) bool) (some []declaration) {
	for _, d := range all {
		if which(d) {
			some = append(some, d)
		}
	}
	return some
}

// packageDeclarations are those of all files beside a file, without those of tests unless
// it is one.
func packageDeclarations(root fs.FS, file string) (all []declaration, err error) {
	siblings, err := fs.Glob(root, path.Dir(file)+"/*.go")
	if err != nil {
		return nil, err
	}
	for _, name := range siblings {
		if isTest(name) && !isTest(file) {
			continue
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		declared, err := declarations(name, content)
		if err != nil {
			return nil, err
		}
		all = append(all, declared...)
	}
	return all, nil
}

// nameProblem says why a code span names something that is not there: a path that
// begins with a directory of the root, or a test. NAME in a path stands for any.
func nameProblem(root fs.FS, known names, page, code string) string {
	if testInUse.MatchString(code) && !slices.Contains(known.tests, code) {
		return fmt.Sprintf("there is no test %s", code)
	}
	name, _, _ := strings.Cut(code, " ") // what stands behind it are a command's arguments
	name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/...")
	first, _, inside := strings.Cut(name, "/")
	if !inside || !pathName.MatchString(name) || !slices.Contains(known.top, first) || strings.Contains(name, "NAME") {
		return ""
	}
	name = strings.TrimSuffix(name, "/")
	for _, candidate := range []string{name, path.Join(path.Dir(page), name)} {
		if _, err := fs.Stat(root, candidate); err == nil {
			return ""
		}
	}
	return fmt.Sprintf("%s is not there", name)
}

// anchors are the names by which GitHub's pages know their headings.
func anchors(page string) (all []string) {
	for line := range strings.Lines(withoutFences(page)) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
			switch {
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
				b.WriteRune(r)
			case r == ' ':
				b.WriteByte('-')
			}
		}
		all = append(all, b.String())
	}
	return all
}

// declaration is something that a Go file declares.
type declaration struct {
	file  string
	owner string // the type of a method or a field, or the package
	name  string
	rank  rank
}

// rank says what a name without its owner stands for, where there are several: rather
// what is the package's own than a method, and rather a method than what does no work.
type rank int

const (
	member rank = iota // a struct's field or an interface's method
	method
	ofPackage // a function, a type, a constant or a variable
)

// qualified is the name as a link may have it to be exact, such as "outcomes.note".
func (d declaration) qualified() string { return d.owner + "." + d.name }

// declarations are what a Go file declares: functions, types, constants and variables,
// methods and fields.
func declarations(name string, content []byte) (all []declaration, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(owner, what string, r rank) { all = append(all, declaration{name, owner, what, r}) }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(file.Name.Name, d.Name.Name, ofPackage)
			} else {
				add(receiver(d.Recv.List[0].Type), d.Name.Name, method)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					add(file.Name.Name, spec.Name.Name, ofPackage)
					for _, m := range members(spec.Type) {
						add(spec.Name.Name, m, member)
					}
				case *ast.ValueSpec:
					for _, value := range spec.Names {
						add(file.Name.Name, value.Name, ofPackage)
					}
				}
			}
		}
	}
	return all, nil
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	if pointer, ok := e.(*ast.StarExpr); ok {
		e = pointer.X
	}
	switch generic := e.(type) {
	case *ast.IndexExpr:
		e = generic.X
	case *ast.IndexListExpr:
		e = generic.X
	}
	if name, ok := e.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// members are a struct's fields or an interface's methods.
func members(e ast.Expr) (all []string) {
	var list *ast.FieldList
	switch e := e.(type) {
	case *ast.StructType:
		list = e.Fields
	case *ast.InterfaceType:
		list = e.Methods
	default:
		return nil
	}
	for _, field := range list.List {
		for _, name := range field.Names {
			all = append(all, name.Name)
		}
	}
	return all
}

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	root := fstest.MapFS{
		"Makefile":       {Data: []byte("test: ## tests\n\tgo test\n")},
		"docs/other.md":  {Data: []byte("# Other\n\n## Where it is, and `why`\n\n```\n# no heading\n```\n")},
		"a/a.go":         {Data: []byte("package a\n\ntype T struct{ Field int }\n\nfunc (t *T) Method() {}\n\nfunc F() {}\n\ntype I interface{ Do() }\n")},
		"a/b.go":         {Data: []byte("package a\n\nconst Moved = 1\n\ntype U[E any] struct{ Field, Do int }\n\nfunc (U[E]) Method() {}\n\nfunc (U[E]) Work() {}\n\ntype V interface{ Work() }\n\ntype W interface{ Work() }\n\nfunc (U[E]) F() {}\n")},
		"a/d.go":         {Data: []byte("package a\n\ntype X interface{ Work() }\n")},
		"a/a_test.go":    {Data: []byte("package a\n\nfunc TestIt(t *testing.T) {}\n")},
		"scripts/run":    {Data: []byte("#!/bin/sh\n")},
		"docs/page.md":   {},
		"docs/deep/d.md": {Data: []byte("# D\n")},
	}
	for _, c := range []struct{ page, want string }{
		{"[other](other.md), [deep](deep/d.md#d), [self](#this)\n# This", ""},
		{"[other](other.md#where-it-is-and-why)", ""},
		{"[other](other.md#why)", "#why, which docs/other.md does not have"},
		{"[other](other.md#no-heading)", "#no-heading"},
		{"[other](another.md)", "docs/another.md, which is not there"},
		{"first\n[x](../x.go)", "docs/page.md:2: the link to ../x.go"},
		{"[out](https://example.com/x)", ""},
		{"```\n[x](../x.go)\n```", ""},
		{"[`F`](../a/a.go), [`a.F`](../a/a.go), [`F()`](../a/a.go), [`a/a.go`](../a/a.go), [text](../a/a.go)", ""},
		{"[`T.Method`](../a/a.go), [`T.Field`](../a/a.go), [`I.Do`](../a/a.go), [`U.Method`](../a/b.go)", ""},
		{"[`Method`](../a/a.go)", "Method may be T.Method in a/a.go or U.Method in a/b.go: write which"},
		{"[`Method`](../a/b.go)", "Method may be U.Method in a/b.go or T.Method in a/a.go: write which"},
		{"[`F`](../a/a.go), [`U.F`](../a/b.go)", ""},
		{"[`F`](../a/b.go)", "F may be U.F in a/b.go or a.F in a/a.go: write which"},
		{"[`T.Method`](../a/b.go)", "T.Method is not declared in a/b.go, but in a/a.go"},
		{"[`Field`](../a/a.go)", "Field may be T.Field in a/a.go or U.Field in a/b.go: write which"},
		{"[`Work`](../a/b.go), [`V.Work`](../a/b.go), [`X.Work`](../a/d.go)", ""},
		{"[`Work`](../a/d.go)", "Work is only a field or an interface's method in a/d.go; what does the work is in a/b.go"},
		{"[`G`](../a/a.go)", "G is not declared in a/a.go"},
		{"[`T.F`](../a/a.go)", "T.F is not declared"},
		{"[`Moved`](../a/a.go)", "Moved is not declared in a/a.go, but in a/b.go"},
		{"[`F or G`](../a/a.go)", "no name"},
		{"[`a`](../a/a.go), [`a.go`](../a/a.go), `a/NAME/b.go`", ""},
		{"[`b/a.go`](../a/a.go)", "no name"},
		{"`a/a.go`, `a/`, `./a/...`, `scripts/run now`, `deep/d.md`, `x/y.go`, `and/or`", ""},
		{"`a/c.go`", "a/c.go is not there"},
		{"`scripts/walk now`", "scripts/walk is not there"},
		{"`TestIt`, `Test`, `Testing`", ""},
		{"`TestThat`", "no test TestThat"},
		{"`make test`, make tea,\nmake them\n```\nmake test\nDURATION=1m make test\n```", ""},
		{"`make tea`", "no target tea"},
		{"```\nmake tea\n```", "no target tea"},
	} {
		t.Run(c.page, func(t *testing.T) {
			root["docs/page.md"] = &fstest.MapFile{Data: []byte(c.page + "\n")}
			known, err := knownNames(root)
			if err != nil {
				t.Fatal(err)
			}
			got := pageProblems(root, known, "docs/page.md")
			if c.want == "" {
				expect(t, got)
				return
			}
			expect(t, got, c.want)
		})
	}
}
