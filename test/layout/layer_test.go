package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestImportsRunDown(t *testing.T) {
	layers, err := readLayers(section(read(t, design), "## Layers"))
	if err != nil {
		t.Fatalf("%s: %v", design, err)
	}
	report(t, layerProblems(layers, goList(t)))
}

func TestTheChartHasTheLayersOfTheTable(t *testing.T) {
	page := section(read(t, design), "## Layers")
	layers, err := readLayers(page)
	if err != nil {
		t.Fatalf("%s: %v", design, err)
	}
	report(t, chartProblems(layers, readChart(fence(page, "mermaid"))))
}

// layer is one row of the page's table.
type layer struct {
	name     string
	packages []string // "a/b", or "a/b/..." for it and all below
	may      []string // the layers that it may import; its own name: its own packages too
}

// codes are the code spans of a table's cell.
var codes = regexp.MustCompile("`([^`]+)`")

// readLayers reads the table of layers, the uppermost first.
func readLayers(page string) ([]layer, error) {
	const header = "| layer | packages | may import |"
	rows := table(page, header)
	if len(rows) == 0 {
		return nil, fmt.Errorf("there is no table with the header %q", header)
	}
	var layers []layer
	for _, row := range rows {
		if len(row) != 3 {
			return nil, fmt.Errorf("the layer %q has %d cells, and not 3", row[0], len(row))
		}
		l := layer{name: row[0]}
		for _, code := range codes.FindAllStringSubmatch(row[1], -1) {
			l.packages = append(l.packages, code[1])
		}
		for name := range strings.SplitSeq(row[2], ",") {
			if name = strings.TrimSpace(name); name != "" {
				l.may = append(l.may, name)
			}
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// pkg is a package with what it imports of this module, both without the module's path:
// "." is the root.
type pkg struct {
	path    string
	imports []string
}

// goList lists the module's packages. What only tests import is not in it.
func goList(t *testing.T) []pkg {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	command.Dir = "../.."
	output, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for list := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := list.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		found := pkg{path: short(p.ImportPath)}
		for _, imported := range p.Imports {
			if imported == module || strings.HasPrefix(imported, module+"/") {
				found.imports = append(found.imports, short(imported))
			}
		}
		packages = append(packages, found)
	}
}

func short(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// layerOf returns the number of the layer that names a package most exactly, or -1, and
// the name.
func layerOf(layers []layer, path string) (index int, pattern string) {
	index = -1
	exactness := 0
	for i, l := range layers {
		for _, p := range l.packages {
			exact := 0
			if dir, below := strings.CutSuffix(p, "/..."); p == path {
				exact = len(p) + 1
			} else if below && (dir == path || strings.HasPrefix(path, dir+"/")) {
				exact = len(dir)
			}
			if exact > exactness {
				index, pattern, exactness = i, p, exact
			}
		}
	}
	return index, pattern
}

// layerProblems says which imports run up or sideways, which packages are in no layer,
// and what the table says that is not so.
func layerProblems(layers []layer, packages []pkg) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for i, l := range layers {
		for _, name := range l.may {
			below := slices.IndexFunc(layers, func(other layer) bool { return other.name == name })
			switch {
			case below < 0:
				problem("the layer %s may import %s, which is no layer", l.name, name)
			case below < i:
				problem("the layer %s may import %s, which stands above it in the table: imports run down", l.name, name)
			}
		}
	}
	used := map[string]bool{}
	for _, p := range packages {
		i, pattern := layerOf(layers, p.path)
		if i < 0 {
			problem("%s is in no layer of %s: add it to one", p.path, design)
			continue
		}
		used[pattern] = true
		l := layers[i]
		for _, imported := range p.imports {
			k, _ := layerOf(layers, imported)
			if k < 0 {
				continue // it is a package, too, and told above
			}
			other := layers[k].name
			used[l.name+" > "+other] = true
			switch {
			case slices.Contains(l.may, other):
			case k < i:
				problem("%s imports %s, which runs up: %s is of the layer %s, above %s", p.path, imported, imported, other, l.name)
			case k == i:
				problem("%s imports %s, which runs sideways: packages of the layer %s do not import one another", p.path, imported, l.name)
			default:
				problem("%s imports %s, which skips its seam: the layer %s may import %s, and not %s", p.path, imported, l.name, strings.Join(l.may, ", "), other)
			}
		}
	}
	for _, l := range layers {
		for _, pattern := range l.packages {
			if !used[pattern] {
				problem("the layer %s names %s, and there is no such package that is not named more exactly elsewhere", l.name, pattern)
			}
		}
		for _, name := range l.may {
			if !used[l.name+" > "+name] {
				problem("the layer %s may import %s, and none of its packages does: take it out", l.name, name)
			}
		}
	}
	return problems
}

// arrow is a line of the chart.
type arrow struct{ from, to string }

var arrowLine = regexp.MustCompile(`(?m)^\s*(\w+)(?:\["[^"]*"\])?\s*-->\s*(\w[\w &]*?)\s*$`)

// readChart reads the arrows of a flowchart: "a --> b & c".
func readChart(chart string) []arrow {
	var arrows []arrow
	for _, line := range arrowLine.FindAllStringSubmatch(chart, -1) {
		for to := range strings.SplitSeq(line[2], "&") {
			arrows = append(arrows, arrow{line[1], strings.TrimSpace(to)})
		}
	}
	return arrows
}

// chartProblems says what the chart of the layers has that their table has not, and
// which of the table's imports no way of arrows stands for.
func chartProblems(layers []layer, arrows []arrow) (problems []string) {
	for _, a := range arrows {
		i := slices.IndexFunc(layers, func(l layer) bool { return l.name == a.from })
		if i < 0 || !slices.Contains(layers[i].may, a.to) {
			problems = append(problems, fmt.Sprintf("the chart has an arrow from %s to %s, and the table no such import", a.from, a.to))
		}
	}
	for _, l := range layers {
		reached := map[string]bool{}
		reach(arrows, l.name, reached)
		for _, name := range l.may {
			if name != l.name && !reached[name] {
				problems = append(problems, fmt.Sprintf("the chart has no way from %s to %s, which the table lets it import", l.name, name))
			}
		}
	}
	return problems
}

func reach(arrows []arrow, from string, reached map[string]bool) {
	for _, a := range arrows {
		if a.from == from && !reached[a.to] {
			reached[a.to] = true
			reach(arrows, a.to, reached)
		}
	}
}

const madeUpLayers = `
| layer | packages | may import |
|---|---|---|
| commands | ` + "`cmd/...`" + ` | engines, adapters, seam, root |
| engines | ` + "`relay`, `inbox`" + ` | seam, root |
| adapters | ` + "`broker/...`" + ` | seam, adapters |
| seam | ` + "`broker`" + ` | root |
| root | ` + "`.`" + ` | |
`

// madeUp is a module whose imports all run down.
func madeUp() map[string][]string {
	return map[string][]string{
		".": nil, "broker": {"."}, "broker/stomp": {"broker"}, "broker/activemq": {"broker", "broker/stomp"},
		"relay": {"broker", "."}, "inbox": {"broker", "."}, "cmd/x": {"relay", "broker/stomp", "broker", "."},
	}
}

func TestAnImportThatRunsUpIsFound(t *testing.T) {
	for _, c := range []struct {
		what     string
		from, to string // an import more
		old, new string // a change of the table
		want     []string
	}{
		{what: "all run down"},
		{
			what: "an adapter imports an engine", from: "broker/stomp", to: "relay",
			want: []string{"broker/stomp imports relay, which runs up: relay is of the layer engines, above adapters"},
		},
		{
			what: "an engine imports an engine", from: "relay", to: "inbox",
			want: []string{"relay imports inbox, which runs sideways"},
		},
		{
			what: "an engine imports an adapter", from: "inbox", to: "broker/stomp",
			want: []string{"inbox imports broker/stomp, which skips its seam: the layer engines may import seam, root, and not adapters"},
		},
		{
			what: "the root imports the seam", from: ".", to: "broker",
			want: []string{". imports broker, which runs up"},
		},
		{
			what: "a package is in no layer", from: "store", to: ".",
			want: []string{"store is in no layer"},
		},
		{
			what: "the table lets an import run up", old: "| seam | `broker` | root |", new: "| seam | `broker` | root, engines |",
			want: []string{"may import engines, which stands above it", "may import engines, and none of its packages does"},
		},
		{
			what: "the table has a layer that is not there", old: "| seam, adapters |", new: "| seam, adapters, sea |",
			want: []string{"may import sea, which is no layer", "may import sea, and none of its packages does"},
		},
		{
			what: "the table has a package that is not there", old: "`inbox`", new: "`inbox`, `outbox`",
			want: []string{"names outbox"},
		},
		{
			what: "the table has an import that nobody needs", old: "| seam, adapters |", new: "| seam, adapters, root |",
			want: []string{"may import root, and none of its packages does"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			layers, err := readLayers(strings.Replace(madeUpLayers, c.old, c.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			imports := madeUp()
			if c.from != "" {
				imports[c.from] = append(imports[c.from], c.to)
			}
			var packages []pkg
			for path, imported := range imports {
				packages = append(packages, pkg{path, imported})
			}
			expect(t, layerProblems(layers, packages), c.want...)
		})
	}
}

func TestAChartThatIsNotTheTableIsFound(t *testing.T) {
	layers, err := readLayers(madeUpLayers)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		chart []string
		want  []string
	}{
		{
			what:  "the table",
			chart: []string{"flowchart TD", `    commands["commands"] --> engines & adapters`, "    engines --> seam", "    adapters --> seam", "    seam --> root"},
		},
		{
			what:  "an arrow too many",
			chart: []string{"commands --> engines & adapters", "engines --> seam & adapters", "adapters --> seam", "seam --> root"},
			want:  []string{"from engines to adapters"},
		},
		{
			what:  "an arrow too few",
			chart: []string{"commands --> engines & adapters", "engines --> seam", "adapters --> seam"},
			want:  []string{"from commands to root", "from engines to root", "from seam to root"},
		},
		{
			what:  "a layer that is not there",
			chart: []string{"commands --> engines & adapters", "engines --> seam", "adapters --> seam", "seam --> root", "store --> root"},
			want:  []string{"from store to root"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			expect(t, chartProblems(layers, readChart(strings.Join(c.chart, "\n"))), c.want...)
		})
	}
}
