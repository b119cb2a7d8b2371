// Package helm renders the chart of deploy/helm with Helm's own engine. It is a module of its
// own, so that nobody who uses Waybill has to have that.
package helm

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

// values are what somebody sets; object is a manifest, or a part of one.
type (
	values = map[string]any
	object = map[string]any
)

// shop are the values of the plain manifests in deploy/kubernetes.
var shop = values{"producer": "shop", "existingSecret": "waybill-shop"}

// and is values with others.
func and(some, others values) values {
	all := maps.Clone(some)
	maps.Copy(all, others)
	return all
}

// render returns the chart's manifests by their kind.
func render(with values, upgrade bool) (map[string]object, error) {
	chart, err := loader.Load("../../deploy/helm")
	if err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "shop", Namespace: "orders", Revision: 1, IsInstall: !upgrade, IsUpgrade: upgrade}
	all, err := chartutil.ToRenderValues(chart, with, release, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	found := map[string]object{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		if err := parse(text, found); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
		}
	}
	return found, nil
}

// parse adds the manifests of a file. A name that is there twice is an error.
func parse(text string, to map[string]object) error {
	for document := range strings.SplitSeq(text, "\n---\n") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			return err
		}
		if o == nil {
			continue // nothing but comments
		}
		kind, _ := o["kind"].(string)
		if kind == "" || to[kind] != nil {
			return fmt.Errorf("the kind %q is there twice, or is none", kind)
		}
		to[kind] = o
	}
	return nil
}

// plain are the manifests of deploy/kubernetes.
func plain(t *testing.T) map[string]object {
	t.Helper()
	found := map[string]object{}
	for _, name := range []string{"init.yaml", "relay.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := parse(string(text), found); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// at is the part of a manifest at a path; a number is a place in a list.
func at(t *testing.T, o any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := o.(object)
			if fields[step] == nil {
				t.Fatalf("%v has no %s", o, step)
			}
			o = fields[step]
		case int:
			list, _ := o.([]any)
			if step >= len(list) {
				t.Fatalf("%v has no element %d", o, step)
			}
			o = list[step]
		}
	}
	return o
}

func mustRender(t *testing.T, with values, upgrade bool) map[string]object {
	t.Helper()
	found, err := render(with, upgrade)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What kustomize adds, labels and the image's name, the plain manifests do not have.
func TestTheChartMakesThePlainManifests(t *testing.T) {
	got, want := mustRender(t, shop, false), plain(t)
	if kinds := slices.Sorted(maps.Keys(got)); !slices.Equal(kinds, slices.Sorted(maps.Keys(want))) {
		t.Fatalf("got the kinds %v, want those of the plain manifests", kinds)
	}
	for kind, ignore := range map[string]map[string]bool{
		"Deployment": {"selector": true}, "Job": {}, "PodDisruptionBudget": {"selector": true},
	} {
		same(t, kind, withoutNames(at(t, got[kind], "spec")), withoutNames(at(t, want[kind], "spec")), ignore)
	}
}

// withoutNames leaves out what has to do with names: labels, selectors and the image.
func withoutNames(o any) any {
	switch o := o.(type) {
	case object:
		kept := object{}
		for name, value := range o {
			switch name {
			case "labels", "labelSelector", "image", "imagePullPolicy":
			default:
				kept[name] = withoutNames(value)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(o))
		for i := range o {
			kept[i] = withoutNames(o[i])
		}
		return kept
	}
	return o
}

func same(t *testing.T, where string, got, want any, ignore map[string]bool) {
	t.Helper()
	g, isObject := got.(object)
	w, both := want.(object)
	if !isObject || !both {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", where, got, want)
		}
		return
	}
	names := maps.Clone(g)
	maps.Copy(names, w)
	for name := range names {
		if !ignore[name] {
			same(t, where+"."+name, g[name], w[name], nil)
		}
	}
}

// The command lines are taken by the program: with --help behind them it checks their flags
// and does nothing.
func TestCommandLinesAreTheProgramsOwn(t *testing.T) {
	program := filepath.Join(t.TempDir(), "waybill")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/waybill")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	got := mustRender(t, and(shop, values{"args": []any{"--prefix", "app_", "--window", "2000"}, "initArgs": []any{"--prefix", "app_"}}), false)
	for _, kind := range []string{"Deployment", "Job"} {
		var args []string
		for _, arg := range at(t, got[kind], "spec", "template", "spec", "containers", 0, "args").([]any) {
			args = append(args, arg.(string))
		}
		if !slices.Contains(args, "app_") {
			t.Errorf("%s: got the arguments %q, want those of the values too", kind, args)
		}
		if out, err := exec.CommandContext(t.Context(), program, append(args, "--help")...).CombinedOutput(); err != nil {
			t.Errorf("waybill %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestTheAddressesStandInTheSecretAlone(t *testing.T) {
	addresses := values{"producer": "shop", "db": "postgres://u:hunter2@db/shop?a=b", "broker": "nats://u:hunter2@mq"}
	got := mustRender(t, addresses, false)
	if db := at(t, got["Secret"], "stringData", "db"); db != addresses["db"] {
		t.Errorf("got the secret's address %v, want %v", db, addresses["db"])
	}
	name := at(t, got["Secret"], "metadata", "name")
	for kind, o := range got {
		if kind != "Secret" && strings.Contains(fmt.Sprint(o), "hunter2") {
			t.Errorf("%s: got a password in %v", kind, o)
		}
	}
	for i, variable := range []string{"WAYBILL_DB", "WAYBILL_BROKER"} {
		env := at(t, got["Deployment"], "spec", "template", "spec", "containers", 0, "env", i)
		if at(t, env, "name") != variable || at(t, env, "valueFrom", "secretKeyRef", "name") != name {
			t.Errorf("got %v, want %s from the secret %v", env, variable, name)
		}
	}
	// Other addresses start other pods.
	sum := func(with values) any {
		return at(t, mustRender(t, with, true)["Deployment"], "spec", "template", "metadata", "annotations", "checksum/addresses")
	}
	if one, two := sum(addresses), sum(and(addresses, values{"broker": "nats://elsewhere"})); one == two {
		t.Errorf("got the check sum %v for two addresses", one)
	}
	if mustRender(t, shop, false)["Secret"] != nil {
		t.Error("got a Secret beside one that exists")
	}
}

func TestWhatIsOptionalIsThereWhereItIsAskedFor(t *testing.T) {
	monitor := values{"serviceMonitor": values{"enabled": true, "labels": values{"release": "prometheus"}}}
	policy := values{"networkPolicy": values{"enabled": true, "from": []any{values{"namespaceSelector": values{}}}}}
	closed := values{"networkPolicy": values{"enabled": true, "egress": []any{values{"to": []any{values{"ipBlock": values{"cidr": "10.0.0.0/8"}}}}}}}
	for _, c := range []struct {
		name    string
		with    values
		upgrade bool
		want    string // the kinds
	}{
		{name: "nothing", want: "Deployment Job PodDisruptionBudget"},
		{name: "an upgrade", upgrade: true, want: "Deployment PodDisruptionBudget"},
		{name: "tables are upgraded", with: values{"init": "always"}, upgrade: true, want: "Deployment Job PodDisruptionBudget"},
		{name: "tables are made by others", with: values{"init": "never"}, want: "Deployment PodDisruptionBudget"},
		{name: "no budget", with: values{"podDisruptionBudget": false}, want: "Deployment Job"},
		{name: "a monitor", with: monitor, want: "Deployment Job PodDisruptionBudget Service ServiceMonitor"},
		{name: "a policy", with: policy, want: "Deployment Job NetworkPolicy PodDisruptionBudget"},
		{name: "a policy for both ways", with: closed, want: "Deployment Job NetworkPolicy PodDisruptionBudget"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := mustRender(t, and(shop, c.with), c.upgrade)
			if kinds := strings.Join(slices.Sorted(maps.Keys(got)), " "); kinds != c.want {
				t.Errorf("got the kinds %s, want %s", kinds, c.want)
			}
		})
	}
	got := mustRender(t, and(and(shop, monitor), policy), false)
	selects := at(t, got["Deployment"], "spec", "selector", "matchLabels")
	for kind, path := range map[string][]any{
		"Service": {"spec", "selector"}, "PodDisruptionBudget": {"spec", "selector", "matchLabels"},
		"ServiceMonitor": {"spec", "selector", "matchLabels"}, "NetworkPolicy": {"spec", "podSelector", "matchLabels"},
	} {
		if labels := at(t, got[kind], path...); !reflect.DeepEqual(labels, selects) {
			t.Errorf("%s: got the labels %v, want %v", kind, labels, selects)
		}
	}
	for name, value := range selects.(object) {
		if pod := at(t, got["Deployment"], "spec", "template", "metadata", "labels", name); pod != value {
			t.Errorf("got the pods' label %s %v, want %v", name, pod, value)
		}
	}
	if label := at(t, got["ServiceMonitor"], "metadata", "labels", "release"); label != "prometheus" {
		t.Errorf("got the monitor's label %v, want prometheus", label)
	}
	if types := at(t, mustRender(t, and(shop, closed), false)["NetworkPolicy"], "spec", "policyTypes"); fmt.Sprint(types) != "[Ingress Egress]" {
		t.Errorf("got the policy's types %v, want both", types)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for says, with := range map[string]values{
		"producer is required":                {"existingSecret": "waybill-shop"},
		"existingSecret is required, or db":   {"producer": "shop"},
		"init is install, always or never":    and(shop, values{"init": "sometimes"}),
		"existingSecret is required, or db a": {"producer": "shop", "db": "postgres://db/shop"},
	} {
		t.Run(says, func(t *testing.T) {
			_, err := render(with, false)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want it to say %q", err, says)
			}
		})
	}
}
