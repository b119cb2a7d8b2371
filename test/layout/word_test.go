package layout

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheGlossariesAreOne(t *testing.T) {
	report(t, glossaryProblems(commentGlossary(packageComment(t)), pageGlossary(read(t, "docs/concepts/glossary.md"))))
}

func TestThePackageCommentShowsTheExample(t *testing.T) {
	report(t, exampleProblems(packageComment(t), read(t, "example_test.go")))
}

func TestThePackageCommentListsThePublicPackages(t *testing.T) {
	dirs, err := publicPackages(repository)
	if err != nil {
		t.Fatal(err)
	}
	report(t, listProblems(packageComment(t), dirs))
}

func TestEveryDecisionIsListed(t *testing.T) {
	names, err := fs.Glob(repository, "docs/decisions/*.md")
	if err != nil || len(names) < 2 {
		t.Fatal(names, err)
	}
	report(t, decisionProblems(read(t, "docs/decisions/README.md"), names))
}

// packageComment returns the root's package comment.
func packageComment(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", read(t, "doc.go"), parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	return file.Doc.Text()
}

// entry is a word and its meaning.
type entry struct{ word, meaning string }

var commentEntry = regexp.MustCompile(`(?m)^  - ([^:]+): (.+)$`)

func commentGlossary(comment string) (all []entry) {
	for _, m := range commentEntry.FindAllStringSubmatch(comment, -1) {
		all = append(all, entry{m[1], m[2]})
	}
	return all
}

func pageGlossary(page string) (all []entry) {
	for _, row := range table(page, "| word | meaning | where |") {
		if len(row) == 3 {
			all = append(all, entry{row[0], row[1]})
		}
	}
	return all
}

// glossaryProblems says where two glossaries differ, and where one is out of order.
func glossaryProblems(comment, page []entry) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if len(comment) == 0 || len(page) == 0 {
		problem("doc.go has %d words and docs/concepts/glossary.md %d", len(comment), len(page))
		return problems
	}
	meaning := func(all []entry, word string) string {
		i := slices.IndexFunc(all, func(e entry) bool { return e.word == word })
		if i < 0 {
			return ""
		}
		return all[i].meaning
	}
	for _, e := range comment {
		switch other := meaning(page, e.word); other {
		case e.meaning:
		case "":
			problem("docs/concepts/glossary.md lacks the word %q, which doc.go has", e.word)
		default:
			problem("%q means %q in doc.go and %q in docs/concepts/glossary.md", e.word, e.meaning, other)
		}
	}
	for _, e := range page {
		if meaning(comment, e.word) == "" {
			problem("doc.go lacks the word %q, which docs/concepts/glossary.md has", e.word)
		}
	}
	for name, all := range map[string][]entry{"doc.go": comment, "docs/concepts/glossary.md": page} {
		for i := 1; i < len(all); i++ {
			if all[i-1].word >= all[i].word {
				problem("%s: %q does not come before %q", name, all[i-1].word, all[i].word)
			}
		}
	}
	return problems
}

// blocks are the indented blocks of a comment: runs of lines that begin with a tab, and
// the empty ones among them.
func blocks(comment string) (all []string) {
	var lines []string
	end := func() {
		if block := strings.TrimRight(strings.Join(lines, "\n"), "\n"); block != "" {
			all = append(all, block)
		}
		lines = nil
	}
	for line := range strings.SplitSeq(comment, "\n") {
		if code, ok := strings.CutPrefix(line, "\t"); ok || line == "" && len(lines) > 0 {
			lines = append(lines, code)
			continue
		}
		end()
	}
	end()
	return all
}

// exampleProblems says which functions of the comment's code the example file does not
// have, as they are there.
func exampleProblems(comment, example string) (problems []string) {
	found := 0
	for _, block := range blocks(comment) {
		if !strings.HasPrefix(block, "func ") {
			continue
		}
		for function := range strings.SplitSeq(block, "\n\n") {
			found++
			if !strings.Contains(example, "\n"+strings.TrimSpace(function)+"\n") {
				head, _, _ := strings.Cut(function, "\n")
				problems = append(problems, fmt.Sprintf("the example does not have this function as the package comment shows it: %s", head))
			}
		}
	}
	if found == 0 {
		problems = append(problems, "the package comment has no code")
	}
	return problems
}

// publicPackages are the directories of packages that programs can import, but for the
// root and the commands.
func publicPackages(root fs.FS) (dirs []string, err error) {
	all, err := files(root, func(name string) bool { return isGo(name) && !strings.HasSuffix(name, "_test.go") })
	for _, name := range all {
		i := strings.LastIndexByte(name, '/')
		if i < 0 || slices.Contains(dirs, name[:i]) || slices.Contains(strings.Split(name, "/"), "internal") {
			continue
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly)
		if err != nil {
			return nil, err
		}
		if file.Name.Name == "main" || strings.HasPrefix(name, "examples/") {
			continue
		}
		dirs = append(dirs, name[:i])
	}
	return dirs, err
}

// listProblems says what the package comment's list of packages lacks, or has too much.
func listProblems(comment string, dirs []string) (problems []string) {
	var listed []string
	for _, block := range blocks(comment) {
		if strings.HasPrefix(block, "func ") {
			continue
		}
		for line := range strings.SplitSeq(block, "\n") {
			dir, what, _ := strings.Cut(line, " ")
			listed = append(listed, dir)
			if strings.TrimSpace(what) == "" {
				problems = append(problems, fmt.Sprintf("the package comment does not say what %s is for", dir))
			}
		}
	}
	for _, dir := range dirs {
		if !slices.Contains(listed, dir) {
			problems = append(problems, fmt.Sprintf("the package comment does not list %s", dir))
		}
	}
	for _, dir := range listed {
		if !slices.Contains(dirs, dir) {
			problems = append(problems, fmt.Sprintf("the package comment lists %s, which is no public package", dir))
		}
	}
	return problems
}

var decisionName = regexp.MustCompile(`^docs/decisions/(\d{4})-[a-z0-9-]+\.md$`)

// decisionProblems says which records are not numbered one by one, or not listed.
func decisionProblems(index string, names []string) (problems []string) {
	number := 0
	for _, name := range names {
		if name == "docs/decisions/README.md" {
			continue
		}
		number++
		m := decisionName.FindStringSubmatch(name)
		if m == nil || m[1] != fmt.Sprintf("%04d", number) {
			problems = append(problems, fmt.Sprintf("%s should be called docs/decisions/%04d-<words>.md", name, number))
		}
		if file := strings.TrimPrefix(name, "docs/decisions/"); !strings.Contains(index, "("+file+")") {
			problems = append(problems, fmt.Sprintf("docs/decisions/README.md does not list %s", file))
		}
	}
	return problems
}

func TestGlossariesThatDifferAreFound(t *testing.T) {
	const comment = "Words.\n\n  - floor: the lowest id.\n  - lane: a destination's part.\n"
	const header = "| word | meaning | where |\n|---|---|---|\n"
	for _, c := range []struct {
		what, page string
		want       []string
	}{
		{"one glossary", header + "| floor | the lowest id. | |\n| lane | a destination's part. | [x](y) |\n", nil},
		{"a word is missing", header + "| floor | the lowest id. | |\n", []string{`lacks the word "lane", which doc.go has`}},
		{"a word is too much", header + "| floor | the lowest id. | |\n| gap | ids. | |\n| lane | a destination's part. | |\n", []string{`doc.go lacks the word "gap"`}},
		{"a meaning differs", header + "| floor | the highest id. | |\n| lane | a destination's part. | |\n", []string{`"floor" means "the lowest id." in doc.go`}},
		{"the order is wrong", header + "| lane | a destination's part. | |\n| floor | the lowest id. | |\n", []string{`"lane" does not come before "floor"`}},
		{"there is no table", "| word | meaning |\n", []string{"docs/concepts/glossary.md 0"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			expect(t, glossaryProblems(commentGlossary(comment), pageGlossary(c.page)), c.want...)
		})
	}
}

func TestAPackageCommentThatIsNotTheCodeIsFound(t *testing.T) {
	const comment = "Package p is one.\n\n\tfunc a() {\n\t\tb()\n\t}\n\n\tfunc b() {\n\n\t}\n\nThe packages:\n\n\tone      the first\n\tone/two  the second\n"
	const example = "package p_test\n\n// a is first.\nfunc a() {\n\tb()\n}\n"
	expect(t, exampleProblems(comment, example), "func b() {")
	expect(t, exampleProblems(comment, strings.Replace(example, "b()", "c()", 1)), "func a() {", "func b() {")
	expect(t, exampleProblems("no code", example), "has no code")

	file := func(name string) *fstest.MapFile { return &fstest.MapFile{Data: []byte("package " + name + "\n")} }
	root := fstest.MapFS{
		"p.go": file("p"), "one/one.go": file("one"), "one/internal/x/x.go": file("x"), "cmd/c/main.go": file("main"),
		"examples/e/e.go": file("e"), "test/t_test.go": file("t"), "three/three.go": file("three"),
	}
	dirs, err := publicPackages(root)
	if want := []string{"one", "three"}; err != nil || !slices.Equal(dirs, want) {
		t.Fatalf("got the packages %q, %v; want %q", dirs, err, want)
	}
	expect(t, listProblems(comment, dirs), "does not list three", "lists one/two, which is no public package")
	expect(t, listProblems(comment+"\tthree\n", dirs), "lists one/two", "does not say what three is for")
}

func TestDecisionsOutOfOrderAreFound(t *testing.T) {
	index := "[1](0001-first.md) [2](0002-second.md)"
	expect(t, decisionProblems(index, []string{"docs/decisions/0001-first.md", "docs/decisions/0002-second.md", "docs/decisions/README.md"}))
	expect(t, decisionProblems(index, []string{"docs/decisions/0001-first.md", "docs/decisions/0003-third.md"}), "should be called docs/decisions/0002", "does not list 0003-third.md")
	expect(t, decisionProblems("", []string{"docs/decisions/0001-First.md"}), "should be called", "does not list")
}
