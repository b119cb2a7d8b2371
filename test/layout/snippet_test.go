package layout

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write the Go code of the pages anew from the files that it comes from")

// Each Go block of a page stands below a comment that says where its code comes from, which
// is compiled, and mostly run by a test:
//
//	<!-- snippet: examples/snippet/service.go Service.Ship send -->
//
// names a file and declarations of it, with their comments, and with "body" in front of a
// name only what is in the function's braces; "all" in the place of names is the whole file.
func TestTheCodeOfThePagesIsThatOfTheExamples(t *testing.T) {
	pages, err := files(repository, func(name string) bool { return isPage(name) && name != "CHANGELOG.md" })
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, page := range pages {
		text := read(t, page)
		fresh, n, problems := withSnippets(repository, page, text)
		blocks += n
		if *update && len(problems) == 0 && fresh != text {
			if err := os.WriteFile(filepath.Join("../..", page), []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if fresh != text {
			problems = append(problems, page+": its code is not that of the files that it names (go test ./test/layout -run Code -update)")
		}
		report(t, problems)
	}
	if blocks < 10 {
		t.Errorf("found %d blocks of Go in the pages", blocks)
	}
}

// goBlock is a block of Go with what stands above it.
var goBlock = regexp.MustCompile("(?m)^(?:<!-- snippet: (.*) -->\n)?```go\n((?s:.*?)\n)??```$")

// withSnippets returns the page with the code that it should have, and how many blocks of Go
// it has.
func withSnippets(root fs.FS, page, text string) (fresh string, blocks int, problems []string) {
	fresh = goBlock.ReplaceAllStringFunc(text, func(block string) string {
		blocks++
		from := goBlock.FindStringSubmatch(block)[1]
		if from == "" {
			problems = append(problems, fmt.Sprintf("%s: block %d of Go does not say where it comes from (<!-- snippet: FILE NAME… -->)", page, blocks))
			return block
		}
		code, err := snippet(root, from)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s: %v", page, from, err))
			return block
		}
		return "<!-- snippet: " + from + " -->\n```go\n" + code + "\n```"
	})
	return fresh, blocks, problems
}

// snippet returns the declarations that a page names, or the whole file where it names "all".
func snippet(root fs.FS, from string) (string, error) {
	words := strings.Fields(from)
	if len(words) < 2 {
		return "", fmt.Errorf("want a file and names")
	}
	source, err := fs.ReadFile(root, words[0])
	if err != nil {
		return "", err
	}
	if len(words) == 2 && words[1] == "all" {
		return strings.TrimSpace(string(source)), nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, words[0], source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	text := func(from, to token.Pos) string {
		return string(source[set.Position(from).Offset:set.Position(to).Offset])
	}
	var parts []string
	body := false
	for _, word := range words[1:] {
		if word == "body" {
			body = true
			continue
		}
		d := declared(file, word)
		if d == nil {
			return "", fmt.Errorf("%s does not declare %s", words[0], word)
		}
		from, to := d.Pos(), d.End()
		switch d := d.(type) {
		case *ast.FuncDecl:
			if body {
				inside := text(d.Body.Lbrace+1, d.Body.Rbrace)
				parts = append(parts, strings.TrimSpace(strings.ReplaceAll(inside, "\n\t", "\n")))
				body = false
				continue
			}
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		case *ast.GenDecl:
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		}
		parts = append(parts, text(from, to))
	}
	return strings.Join(parts, "\n\n"), nil
}

// declared is the declaration of Name, or Type.Name for a method.
func declared(file *ast.File, name string) ast.Decl {
	owner, method, isMethod := strings.Cut(name, ".")
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if isMethod && d.Recv != nil && receiver(d.Recv.List[0].Type) == owner && d.Name.Name == method {
				return d
			}
			if !isMethod && d.Recv == nil && d.Name.Name == name {
				return d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok && t.Name.Name == name {
					return d
				}
			}
		}
	}
	return nil
}

func TestCodeOfPagesThatIsNoExamplesIsFound(t *testing.T) {
	root := fstest.MapFS{"a/a.go": {Data: []byte("package a\n\n// T is one.\ntype T struct{}\n\n// Do does it.\nfunc (T) Do() {\n\tx()\n\tif y {\n\t\tz()\n\t}\n}\n\nfunc F() {}\n")}, "b/b.go": {Data: []byte("package b\n\nfunc F() {}\n")}}
	block := func(from, code string) string { return "<!-- snippet: " + from + " -->\n```go\n" + code + "```\n" }
	for _, c := range []struct{ page, want, problem string }{
		{block("a/a.go F", "func F() {}\n"), block("a/a.go F", "func F() {}\n"), ""},
		{block("a/a.go F", "func G() {}\n"), block("a/a.go F", "func F() {}\n"), ""},
		{block("a/a.go F", ""), block("a/a.go F", "func F() {}\n"), ""},
		{block("a/a.go T F", ""), block("a/a.go T F", "// T is one.\ntype T struct{}\n\nfunc F() {}\n"), ""},
		{block("a/a.go body T.Do F", ""), block("a/a.go body T.Do F", "x()\nif y {\n\tz()\n}\n\nfunc F() {}\n"), ""},
		{block("b/b.go all", ""), block("b/b.go all", "package b\n\nfunc F() {}\n"), ""},
		{"```go\nfunc F() {}\n```\n", "```go\nfunc F() {}\n```\n", "does not say where it comes from"},
		{block("a/a.go G", "g\n"), block("a/a.go G", "g\n"), "does not declare G"},
		{block("a/b.go G", "g\n"), block("a/b.go G", "g\n"), "file does not exist"},
		{block("a/a.go", "g\n"), block("a/a.go", "g\n"), "want a file and names"},
	} {
		got, blocks, problems := withSnippets(root, "p.md", "before\n"+c.page+"after\n")
		if got != "before\n"+c.want+"after\n" || blocks != 1 {
			t.Errorf("%q: got %d blocks in %q", c.page, blocks, got)
		}
		if c.problem == "" {
			expect(t, problems)
			continue
		}
		expect(t, problems, c.problem)
	}
}
