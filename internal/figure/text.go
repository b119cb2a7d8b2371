package figure

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// buildInfo tells which program this is.
var buildInfo = Family{Name: "build_info", Help: "The program's version; always 1.", Labels: []string{"version", "go_version"}}

// Build is the figure that tells the program's version.
func Build(version string) Figure {
	return Figure{Family: &buildInfo, Value: 1, At: []string{version, runtime.Version()}}
}

// Text writes figures in Prometheus' text format, version 0.0.4, as its client does
// (https://prometheus.io/docs/instrumenting/exposition_formats/): for programs without that.
func Text(all []Figure) []byte {
	families := map[string][]string{} // samples by name
	about := map[string]*Family{}
	for i := range all {
		name := all[i].Prometheus()
		about[name] = all[i].Family
		families[name] = append(families[name], samples(name, &all[i])...)
	}
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := about[name]
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", name, escapeHelp.Replace(f.Help), name, typeNames[f.Kind])
		if f.Kind != Histogram {
			slices.Sort(families[name])
		}
		for _, sample := range families[name] {
			text.WriteString(sample)
		}
	}
	return text.Bytes()
}

var (
	typeNames   = map[Kind]string{Gauge: "gauge", Counter: "counter", Histogram: "histogram"}
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// samples are the lines of one figure.
func samples(name string, f *Figure) (lines []string) {
	line := func(suffix string, value float64, more ...string) {
		labels := more
		for i, label := range f.Labels {
			labels = append(labels, fmt.Sprintf(`%s="%s"`, label, escapeValue.Replace(f.At[i])))
		}
		slices.Sort(labels)
		at := ""
		if len(labels) > 0 {
			at = "{" + strings.Join(labels, ",") + "}"
		}
		lines = append(lines, name+suffix+at+" "+number(value)+"\n")
	}
	if f.Kind != Histogram {
		line("", f.Value)
		return lines
	}
	for _, b := range f.Latency.Buckets {
		line("_bucket", float64(b.Count), fmt.Sprintf(`le="%s"`, number(b.UpTo.Seconds())))
	}
	line("_bucket", float64(f.Latency.Count), `le="+Inf"`)
	line("_sum", f.Latency.Sum.Seconds())
	line("_count", float64(f.Latency.Count))
	return lines
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
