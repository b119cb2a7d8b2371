package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

var update = flag.Bool("update", false, "write testdata/json.golden anew")

// shapes adds what a JSON value has: a line for each field, with its path and its type.
func shapes(to map[string]bool, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			shapes(to, path+"."+name, field)
		}
	case []any:
		for _, element := range v {
			shapes(to, path+"[]", element)
		}
		if len(v) == 0 {
			to[path+"[] nothing"] = true
		}
	case nil:
		to[path+" null"] = true
	default:
		to[fmt.Sprintf("%s %s", path, strings.Replace(fmt.Sprintf("%T", v), "float64", "number", 1))] = true
	}
}

// Scripts rely on these names: they may get more, and none goes or changes its type.
func TestTheJSONFormsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	ids := strings.Fields(w.ok(`{"key":"A-1","headers":{"team":"x"},"body":""}`+strings.Repeat("\n"+`{"body":"x"}`, 3), "send", "orders"))
	w.exec(`UPDATE qmessage SET status = 2, not_before = 1, last_error = 'carrier API: 503', failures = 5 WHERE message_id <> ?`, ids[3])
	w.ok("", "send", "mails", "--not-before", "1h", "--body", "x")
	w.exec(`INSERT INTO qconfirmed (message_id, consumer, outcome, last_error, time_stamp) VALUES (?, 'audit', 2, 'no', 1)`, ids[0])
	w.exec(`INSERT INTO n_horizon (consumer, producer, message_id, floor) VALUES ('shipping', 'shop', NULL, NULL)`)
	kept := waybill.NewID().String()
	for _, id := range []string{kept, waybill.NewID().String()} {
		w.exec(`INSERT INTO n_rejected (consumer, message_id, dest_name, dest_type, business_mark, delivery, headers, message_content, status, tries, failures, not_before, kept_at, tried_at, reason)
			VALUES ('shipping', ?, 'orders', 0, '', ?, '[["a","b"]]', x'7b7d', 2, 1, 1, 0, 1, 1, 'no such order')`, id, id)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	defer server.Close()

	var text strings.Builder
	for _, line := range []string{
		"send orders --body x --json",
		"list --json", "list --side consumer --json",
		"show --json " + ids[0], "show --side consumer --json " + kept,
		"groups --json", "pause orders --side producer --for 1h --reason x --json", "status --json", "resume orders --side producer --json",
		"resend --dry-run --json " + ids[1], "resend --as-new --json " + ids[1], "resend --side consumer --json " + kept,
		"discard --dry-run --json " + ids[0], "discard --yes --json " + ids[0],
		"prune --dry-run --json", "prune --json",
		"prune --keys-idle 48h --side producer --dry-run --json", "prune --keys-idle 48h --side producer --json",
		"health --json " + server.URL, "version --json",
	} {
		found := map[string]bool{}
		for output := range strings.Lines(w.ok("", strings.Fields(line)...)) {
			var value any
			if err := json.Unmarshal([]byte(output), &value); err != nil {
				t.Fatalf("waybill %s: got %q, want JSON on each line: %v", line, output, err)
			}
			shapes(found, "", value)
		}
		name := regexp.MustCompile(` (http:\S+|[0-9a-f-]{36})`).ReplaceAllString(line, "")
		fmt.Fprintf(&text, "$ waybill %s\n%s\n\n", name, strings.Join(slices.Sorted(maps.Keys(found)), "\n"))
	}
	const golden = "testdata/json.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("got other forms than %s has (go test ./cmd/waybill -run JSONForms -update writes it anew):\n%s", golden, text.String())
	}
	// All of them are documented.
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`(?m)^(?:\S*\.)?(\w+)(?:\[\])* \w+$`).FindAllStringSubmatch(text.String(), -1) {
		isHeader := strings.HasPrefix(name[0], ".headers.") // whose name is the sender's
		if !isHeader && !regexp.MustCompile(`\b`+name[1]+`\b`).Match(page) {
			t.Errorf("got the field %s, which docs/protocol.md does not name", name[1])
		}
	}
}
