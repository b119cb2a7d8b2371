package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/store"
)

type object = map[string]any

func (d *desk) description() object {
	d.Helper()
	var description object
	d.must(json.Unmarshal(d.ask("GET", "/api/v1/openapi.json", "").Body.Bytes(), &description))
	return description
}

func TestTheAPIIsAsItsDescriptionSays(t *testing.T) {
	d := newDesk(t, admin.Options{Version: "v1.2.3"})
	id := d.rejected(waybill.Message{Destination: "orders", Key: "k", Body: []byte{0xff}, Headers: map[string]string{"a": "b"}}, "shipping: no")
	d.sent(waybill.Message{Destination: "orders", Body: []byte("{}")})
	kept := waybill.NewID()
	d.keep(store.Kept{MessageID: kept, Destination: "foreign", Delivery: "1", Headers: `{}`, Status: store.Rejected, Reason: "no"})
	description := d.description()
	v := &validator{description}
	paths, _ := description["paths"].(object)
	seen := 0
	operation := ""
	routes := admin.RoutesOf(d.console)
	slices.SortStableFunc(routes, func(a, b admin.Route) int { // what is ordered is looked at after that
		return strings.Count(a.Pattern, "{") - strings.Count(b.Pattern, "{")
	})
	for _, route := range routes {
		if !strings.HasPrefix(route.Pattern, "/api/") {
			continue
		}
		path, _ := paths[route.Pattern].(object)
		described, _ := path[strings.ToLower(route.Method)].(object)
		if described == nil {
			t.Errorf("%s %s is not described", route.Method, route.Pattern)
			continue
		}
		seen++
		target, body := strings.ReplaceAll(route.Pattern, "{id}", id.String()), ""
		switch {
		case strings.Contains(route.Pattern, "/kept/"):
			target = "/api/v1/kept/" + kept.String()
		case strings.Contains(route.Pattern, "/operations/"):
			target = strings.ReplaceAll(route.Pattern, "{id}", operation)
		case strings.Contains(route.Pattern, "/pauses"):
			body = `{"destination":"orders","side":"producer"}`
		case route.Method == http.MethodPost:
			body = `{"action":"resend","selection":{"destination":"orders"}}`
		}
		w := d.ask(route.Method, target, body, asJSON)
		var answer any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: got %s, %v, want JSON", route.Method, target, w.Body, err)
			continue
		}
		if route.Method == http.MethodPost && operation == "" {
			o, _ := answer.(object)
			operation, _ = o["id"].(string)
		}
		responses, _ := described["responses"].(object)
		response, _ := responses[strconv.Itoa(w.Code)].(object)
		if response == nil {
			if strings.HasSuffix(target, "/continue") { // it does not wait
				response, _ = responses["default"].(object)
			} else {
				t.Errorf("%s %s: got %d %s, which is not described", route.Method, target, w.Code, w.Body)
				continue
			}
		}
		if route.Pattern != "/api/v1/openapi.json" {
			for _, problem := range v.problems(response, answer) {
				t.Errorf("%s %s: %s in %s", route.Method, target, problem, w.Body)
			}
		}
		for _, wrong := range []string{"?db=nowhere", "/nothing"} {
			w := d.ask(route.Method, target+wrong, body, asJSON)
			if w.Code < 400 {
				continue // it has no such argument
			}
			if wrong == "?db=nowhere" {
				response, _ := responses["default"].(object)
				_ = json.Unmarshal(w.Body.Bytes(), &answer)
				for _, problem := range v.problems(response, answer) {
					t.Errorf("%s %s%s: %s in %s", route.Method, target, wrong, problem, w.Body)
				}
			}
		}
	}
	n := 0
	for _, path := range paths {
		p, _ := path.(object)
		n += len(p)
	}
	if n != seen || n < 10 {
		t.Errorf("got %d operations described, and %d served", n, seen)
	}
}

func TestEveryArgumentThatIsDescribedIsTaken(t *testing.T) {
	source, err := os.ReadFile("api.go")
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:Get|FormValue)\("(\w+)"\)|values\["(\w+)"\]|"(older|younger)":`).FindAllStringSubmatch(string(source), -1) {
		taken[m[1]+m[2]+m[3]] = true
	}
	d := newDesk(t, admin.Options{})
	paths, _ := d.description()["paths"].(object)
	n := 0
	for path, methods := range paths {
		for _, operation := range methods.(object) {
			parameters, _ := operation.(object)["parameters"].([]any)
			for _, p := range parameters {
				if p := p.(object); p["in"] == "query" {
					if n++; !taken[p["name"].(string)] {
						t.Errorf("%s: the argument %s is described, and nothing takes it", path, p["name"])
					}
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("got %d arguments, want more", n)
	}
}

// validator checks values by the schemas of a description.
type validator struct{ description object }

// problems are what is wrong with an answer.
func (v *validator) problems(response object, answer any) []string {
	content, _ := response["content"].(object)
	media, _ := content["application/json"].(object)
	schema, _ := media["schema"].(object)
	if schema == nil {
		return []string{"there is no schema"}
	}
	return v.check("", schema, answer)
}

func (v *validator) check(at string, schema object, value any) (problems []string) {
	if ref, ok := schema["$ref"].(string); ok {
		components := v.description["components"].(object)["schemas"].(object)
		schema, ok = components[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
		if !ok {
			return []string{ref + " is not there"}
		}
	}
	if some, ok := schema["anyOf"].([]any); ok {
		for _, one := range some {
			if problems = v.check(at, one.(object), value); len(problems) == 0 {
				return nil
			}
		}
		return problems
	}
	ok := false
	switch schema["type"] {
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "number":
		_, ok = value.(float64)
	case "integer":
		var n float64
		n, ok = value.(float64)
		ok = ok && n == math.Trunc(n)
	case "null":
		ok = value == nil
	case "array":
		var all []any
		all, ok = value.([]any)
		items, _ := schema["items"].(object)
		for i, element := range all {
			problems = append(problems, v.check(fmt.Sprintf("%s[%d]", at, i), items, element)...)
		}
	case "object":
		var fields object
		fields, ok = value.(object)
		properties, _ := schema["properties"].(object)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			property, known := properties[name].(object)
			if !known {
				problems = append(problems, at+"."+name+" is not described")
				continue
			}
			problems = append(problems, v.check(at+"."+name, property, fields[name])...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, there := fields[name.(string)]; !there {
				problems = append(problems, at+"."+name.(string)+" is missing")
			}
		}
	}
	if !ok {
		problems = append(problems, fmt.Sprintf("%s is %v, and no %v", at, value, schema["type"]))
	}
	return problems
}

func TestWhatIsNotAsDescribedIsFound(t *testing.T) {
	schema := object{"content": object{"application/json": object{"schema": object{
		"type": "object", "required": []any{"n"},
		"properties": object{"n": object{"type": "integer"}, "all": object{"type": "array", "items": object{"anyOf": []any{object{"type": "string"}, object{"type": "null"}}}}},
	}}}}
	v := &validator{}
	for _, c := range []struct {
		value any
		good  bool
	}{
		{object{"n": 1.0}, true},
		{object{"n": 1.0, "all": []any{"a", nil}}, true},
		{object{"n": 1.5}, false},
		{object{}, false},
		{object{"n": 1.0, "m": 1.0}, false},
		{object{"n": 1.0, "all": []any{1.0}}, false},
		{nil, false},
	} {
		if problems := v.problems(schema, c.value); (len(problems) == 0) != c.good {
			t.Errorf("%v: got the problems %q", c.value, problems)
		}
	}
}

// Every text that a page can show is in every language.
func TestEveryTextIsInEveryLanguage(t *testing.T) {
	quoted := `"((?:[^"\\]|\\.)*)"`
	n := 0
	for pattern, forms := range map[string][]string{
		"pages/*.html":                 {`\bt ` + quoted},
		"*.go":                         {`\bt\(` + quoted, `c\.refuse\([^"\n]*` + quoted + `\)`, `badArgumentError\{` + quoted + `\}`, `problem = ` + quoted},
		"rates.go":                     {`": "([A-Z][a-z ]+)"`},
		"../internal/survey/*.go":      {`\bsay\(` + quoted},
		"../internal/repair/*.go":      {`Format: ` + quoted},
		"../internal/survey/outbox.go": {`State = ` + quoted},
		"../internal/repair/repair.go": {`(?:State|Action) = ` + quoted},
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %v, %v", pattern, files, err)
		}
		found := map[string]int{}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range forms {
				for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(text), -1) {
					found[form]++
					if n++; !admin.Said(m[1]) {
						t.Errorf("%s: %q is not in every language", file, m[1])
					}
				}
			}
		}
		for _, form := range forms {
			if found[form] == 0 {
				t.Errorf("%s: nothing is of the form %s any more", pattern, form)
			}
		}
	}
	if n < 150 {
		t.Errorf("got %d texts, want more", n)
	}
}
