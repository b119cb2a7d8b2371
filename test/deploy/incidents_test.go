package deploy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The person on duty searches logs and pages for what docs/operate/incidents.md quotes.
func TestIncidentsQuoteWhatTheProgramSays(t *testing.T) {
	page, rules, served, source := read(t, "../docs/operate/incidents.md"), read(t, "prometheus/waybill.rules.yml"), servedMetrics(t), sources(t)
	quote, alert, metric := regexp.MustCompile(`"([^"]+)"`), regexp.MustCompile("`(Waybill[A-Za-z]+)`"), regexp.MustCompile("`(waybill_[a-z_]+)`")
	incidents := 0
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what happened") {
			continue
		}
		incidents++
		if columns := strings.Split(strings.Trim(line, "|\n "), " | "); len(columns) != 4 {
			t.Errorf("got %d columns, want what happened, the page, the log and the way out: %s", len(columns), line)
		}
		for _, found := range quote.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(source, found[1]) {
				t.Errorf("nothing says %q, which is quoted in %s", found[1], line)
			}
		}
		for _, found := range alert.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(rules, "alert: "+found[1]+"\n") {
				t.Errorf("no rule is called %s, which is named in %s", found[1], line)
			}
		}
		for _, found := range metric.FindAllStringSubmatch(line, -1) {
			if !served[found[1]] {
				t.Errorf("no metric is called %s, which is named in %s", found[1], line)
			}
		}
	}
	if incidents < 20 {
		t.Errorf("got %d incidents, want 20 at least", incidents)
	}
	// And each alert leads to an incident.
	for _, found := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(page, "`"+found[1]+"`") {
			t.Errorf("the alert %s is named in no incident", found[1])
		}
	}
}

// sources is the code and the pages of the programs, without their tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"relay", "inbox", "store", "admin", "internal", "cmd/waybill", "errors.go", "breaker.go"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".html" {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
