// Package deploy_test checks the files of the directory deploy against the program.
package deploy_test

import (
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/promwaybill"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"

	_ "modernc.org/sqlite"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRulesAndDashboardNameMetricsThatAreServed(t *testing.T) {
	served := servedMetrics(t)
	name, histogram := regexp.MustCompile(`\bwaybill_[a-z0-9_]+`), regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, path := range []string{"prometheus/waybill.rules.yml", "prometheus/waybill.test.yml", "grafana/waybill.json"} {
		found := name.FindAllString(read(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", path)
		}
		for _, metric := range found {
			if !served[metric] && !served[histogram.ReplaceAllString(metric, "")] {
				t.Errorf("%s names %s, which neither a relay nor an inbox serves", path, metric)
			}
		}
	}
}

// servedMetrics are the names of the metrics that a relay and an inbox serve.
func servedMetrics(t *testing.T) map[string]bool {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err = store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{Producer: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(db, sqlite.Dialect(), memory.New(nil), &inbox.Options{Consumer: "shipping"})
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := store.NewKeeper(db, sqlite.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc, 1000)
	promwaybill.Relay(r, queue, nil).Describe(descriptions)
	promwaybill.Inbox(in, keeper, nil).Describe(descriptions)
	close(descriptions)
	served := map[string]bool{}
	for d := range descriptions {
		served[regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	return served
}

func TestTheDashboardIsSound(t *testing.T) {
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/waybill.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		switch {
		case ids[p.ID], p.Title == "", len(p.Targets) == 0:
			t.Errorf("panel %d, %q, has the id of another one, or no title, or no query", p.ID, p.Title)
		case p.GridPos.X+p.GridPos.W > 24:
			t.Errorf("panel %q is wider than the page", p.Title)
		}
		ids[p.ID] = true
	}
	if dashboard.UID == "" || len(ids) < 10 {
		t.Errorf("the dashboard has %d panels and the uid %q", len(ids), dashboard.UID)
	}
}

func TestTheRulesFireAsTheirTestsSay(t *testing.T) {
	promtool := filepath.Join(testserver.Foreign(t, "../..", "promtool"), "promtool")
	for _, args := range [][]string{
		{"check", "rules", "../../deploy/prometheus/waybill.rules.yml"},
		{"test", "rules", "../../deploy/prometheus/waybill.test.yml"},
	} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// The command lines in these files are taken by the program: with --help behind them it
// checks their flags and does nothing.
func TestCommandLinesAreTheProgramsOwn(t *testing.T) {
	program := filepath.Join(t.TempDir(), "waybill")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/waybill").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	list := regexp.MustCompile(`(?m)^\s*(?:args|command): \[(init|relay)(.*)\]$`)
	words := regexp.MustCompile(`"[^"]*"|[^\s,]+`)
	var lines [][]string
	for _, path := range []string{"kubernetes/init.yaml", "kubernetes/relay.yaml", "compose/compose.yaml"} {
		found := list.FindAllStringSubmatch(read(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s has no command line", path)
		}
		for _, line := range found {
			args := []string{line[1]}
			for _, word := range words.FindAllString(line[2], -1) {
				args = append(args, strings.Trim(word, `"`))
			}
			lines = append(lines, args)
		}
	}
	unit := regexp.MustCompile(`(?m)^ExecStart=\S+ (.*)$`).FindStringSubmatch(read(t, "systemd/waybill-relay@.service"))
	if unit == nil {
		t.Fatal("the systemd unit starts nothing")
	}
	lines = append(lines, strings.Fields(unit[1]))
	for _, args := range lines {
		out, err := exec.CommandContext(t.Context(), program, append(args, "--help")...).CombinedOutput()
		if err != nil {
			t.Errorf("waybill %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), program, "relay", "--produce", "shop", "--help").CombinedOutput(); err == nil {
		t.Errorf("a flag that does not exist is taken:\n%s", out)
	}
}
