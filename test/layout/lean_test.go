package layout

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// clients are the modules by which the command speaks to databases, brokers and Prometheus, and
// the server that it embeds.
var clients = []string{
	"github.com/Azure/go-amqp",
	"github.com/go-sql-driver/mysql",
	"github.com/go-stomp/stomp",
	"github.com/jackc/pgx",
	"github.com/nats-io/nats-server",
	"github.com/nats-io/nats.go",
	"github.com/prometheus/client_golang",
	"github.com/rabbitmq/amqp091-go",
	"github.com/twmb/franz-go",
	"modernc.org/sqlite",
}

// A program that is built with the tag waybill_lean has what its other tags ask for, and no
// client besides.
func TestLeanProgramsHaveWhatTheirTagsSay(t *testing.T) {
	for _, c := range []struct{ tags, want string }{
		{"", strings.Join(clients, " ")},
		{"waybill_lean", ""},
		{"waybill_lean,waybill_postgres", "github.com/jackc/pgx"},
		{"waybill_lean,waybill_mysql", "github.com/go-sql-driver/mysql"},
		{"waybill_lean,waybill_sqlite", "modernc.org/sqlite"},
		{"waybill_lean,waybill_amqp1", "github.com/Azure/go-amqp"},
		{"waybill_lean,waybill_stomp", "github.com/go-stomp/stomp github.com/Azure/go-amqp"},
		{"waybill_lean,waybill_activemq", "github.com/Azure/go-amqp github.com/go-stomp/stomp"},
		{"waybill_lean,waybill_rabbitmq", "github.com/rabbitmq/amqp091-go"},
		{"waybill_lean,waybill_nats", "github.com/nats-io/nats.go"},
		{"waybill_lean,waybill_kafka", "github.com/twmb/franz-go"},
		{"waybill_lean,waybill_prometheus", "github.com/prometheus/client_golang"},
		{"waybill_lean,waybill_embedded", "github.com/nats-io/nats-server github.com/nats-io/nats.go"},
		{"waybill_lean,waybill_demo", "github.com/nats-io/nats-server github.com/nats-io/nats.go modernc.org/sqlite"},
		{"waybill_lean,waybill_torture", "github.com/nats-io/nats-server github.com/nats-io/nats.go modernc.org/sqlite"},
	} {
		t.Run(c.tags, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", c.tags, "./cmd/waybill")
			command.Dir = "../.."
			output, err := command.Output()
			if err != nil {
				t.Fatalf("%v: %v", command, err)
			}
			packages := strings.Fields(string(output))
			for _, client := range clients {
				has := slices.ContainsFunc(packages, func(p string) bool { return p == client || strings.HasPrefix(p, client+"/") })
				if want := slices.Contains(strings.Fields(c.want), client); has != want {
					t.Errorf("%s: linked is %t, want %t", client, has, want)
				}
			}
			if slices.Contains(packages, "net/http/pprof") && !strings.Contains(c.want, "nats-server") {
				t.Error("net/http/pprof is linked, whose init serves it to everybody")
			}
		})
	}
}

// A service that sends and handles messages has no client for metrics unless it asks for one.
func TestTheLibraryLinksNoMetricsClient(t *testing.T) {
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "./outbox", "./relay", "./inbox", "./store/...", "./broker/...", "./waybilltest")
	command.Dir = "../.."
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	packages := strings.Fields(string(output))
	if !slices.Contains(packages, module+"/relay") {
		t.Fatalf("found the packages %q alone", packages)
	}
	for _, p := range packages {
		if strings.HasPrefix(p, "github.com/prometheus/") || strings.HasPrefix(p, "google.golang.org/protobuf/") {
			t.Errorf("%s is linked", p)
		}
	}
}

// With text/template in use, the linker keeps all exported methods of what is linked. cobra
// uses it where a program sets templates.
func TestTheCommandSetsNoTemplates(t *testing.T) {
	sources, err := files(repository, func(name string) bool { return isGo(name) && strings.HasPrefix(name, "cmd/") })
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 50 {
		t.Fatalf("found the files %q alone", sources)
	}
	for _, name := range sources {
		text := read(t, name)
		for _, use := range []string{"Template(", `"text/template"`, `"html/template"`} {
			if strings.Contains(text, use) {
				t.Errorf("%s has %s, which makes the command 5 MB larger", name, use)
			}
		}
	}
}
