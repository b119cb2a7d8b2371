package redact_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/redact"
)

// awkward is what a password may hold that ends a part of an address.
var awkward = []string{
	"", "/", "?", "#", "[", "]", `\`, " ", ":", "@", "&", "=", ";", ",", "'", `"`, "`", "%", "+", "(", ")", "{", "}", "|", "<", ">", "^", "~", "$", "!", "*", "é",
	"%40", "%3A", "%zz", "://", "//", "@@", "?&", "/@", ":@", "@:", "&@", "?@", "#@", `\"`, `\'`, "@tcp(", "]:", "&a;", "?a", ":1", "/a?",
}

// secrets are a word with awkward characters at each place of it.
func secrets() []string {
	all := []string{"Tr0ub4dor?3", "pa/ssword", "hunter2", "p4ss:w0rd@h0st", "1234567"}
	for _, c := range awkward {
		all = append(all, "Vq7Zk"+c+"Wx9Jm", c+"Vq7ZkWx9Jm", "Vq7ZkWx9Jm"+c, "Vq7Zk"+c+"Wx9Jm"+c+"Yf2Hb")
	}
	return all
}

// seen is a piece of a secret, of four characters or more, that a text shows; "" where there
// is none.
func seen(secret, text string) string {
	for i := 0; i+4 <= len(secret); i++ {
		if piece := secret[i : i+4]; strings.Contains(text, piece) && strings.ContainsAny(piece, "VqZkWxJmYfHb") {
			return piece
		}
	}
	if strings.Contains(text, secret) {
		return secret
	}
	return ""
}

// forms are ways to write an address; § is the secret.
var forms = []string{
	"postgres://user:§@host:5432/app?sslmode=require", "POSTGRES://user:§@host/app", "postgres://user?§@host/app", "postgres://user/§@host/app", "postgres://user#§@host/app",
	"postgres://user:§@host1,host2:5433/app", "postgres://user:§@[::1]:5432/app", "postgres://:§@host", "postgresql://user:§@host:port/app", "postgres://user:§@",
	"mysql://user:§@host:3306/app?tls=true", "mariadb://user:§@host/app", "amqp://user:§@host:5672/vhost", "amqps://user:§@host", "rabbitmq://user:§@host/%2f", "rabbitmqs://user:§@host",
	"amqp1://user:§@host", "stomp://user:§@host:61613", "stomp+tls://user:§@host:61613?ca=/x.pem", "activemq://user:§@host", "kafka://user:§@host1,host2:9092?sasl=plain",
	"nats://§@host:4222", "tls+nats://§@host", "NATS://§@host", "nats://user:§@host", "oracle://user:§@host", "oracle://§@host", "https://§@host/repository",
	"user:§@tcp(db:3306)/app?parseTime=true", "root:§@tcp(db)/app", "root:§@unix(/run/mysqld.sock)/app", "mysql:user:§@host/app",
	"jdbc:postgresql://user:§@host/db", "jdbc:mysql://host/db?user=u&password=§",
	"failover:(tcp://a:1,ssl://u:§@b:2)?randomize=true", "failover:(ssl://u:§@b:2,tcp://a:1)", "failover:tcp://u:§@a:1,tcp://u:§@b:1",
	"nats://user:§@host1,nats://user:§@host2", "amqp://host1,amqp://user:§@host2", "kafka://user:§@host1:9092 kafka://user:§@host2:9092",
	"postgres://host/app?user=u&password=§", "postgres://host/app?PASSWORD=§&a=b", "postgres://host/app?sslpassword=§", "postgres://host/app?pass%77ord=§", "postgres://host/app?a=b?password=§",
	"kafka://host:9092?sasl.password=§&sasl.username=u", "kafka://host?sasl.jaas.config=§", "nats://host?token=§", "nats://host?jwt=§&a=b", "https://host/x?api_key=§", "https://host/x?access-key=§", "https://host/x?key=§", "https://host/x?sig=§",
	"jdbc:postgresql://h:5432/db;password=§", "jdbc:sqlserver://host:1433;databaseName=x;user=u;Password=§", "sb://host/;SharedAccessKeyName=n;SharedAccessKey=§",
	"host=db user=u password=§", "host=db user=u password=§ dbname=app", "password=§", "host=db PASSWORD=§", "host=db user=u password='§' dbname=app", "password = § host=db",
	"Server=db;User Id=u;Pwd=§", "Server=db;Uid=u;Password=§;Database=x", "PGPASSWORD=§", "sslpassword=§", "user=u token=§", "client_secret=§",
}

// isUser says that a form means something else with this secret: NATS takes what stands before a
// colon for a user.
func isUser(form, secret string) bool {
	return strings.Contains(strings.ToLower(form), "nats://§@") && strings.Contains(secret, ":")
}

// step is that of which addresses are tried, and stepOfTexts that of which of them are tried in a
// text: all of them in all texts take minutes. 1 tries all.
const (
	step        = 11
	stepOfTexts = 67
)

// encodings are ways to write a secret in one of the forms.
var encodings = []struct {
	name  string
	write func(secret string) string
}{
	{"as it is", func(s string) string { return s }},
	{"URL-encoded", url.QueryEscape},
	{"path-encoded", url.PathEscape},
	{"libpq's quotes", strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace},
}

func TestNoPieceOfASecretIsShownOfAnAddress(t *testing.T) {
	for i, form := range forms {
		for k, e := range encodings {
			for j, secret := range secrets() {
				if (i+j+k)%step != 0 || isUser(form, secret) {
					continue
				}
				addr := strings.ReplaceAll(form, "§", e.write(secret))
				if piece := seen(secret, redact.Address(addr)); piece != "" {
					t.Errorf("%q (%s): got %q, which shows %q", addr, e.name, redact.Address(addr), piece)
				}
			}
		}
	}
}

// texts are ways in which an address comes into a text; open are those that do not say where
// it ends.
var texts = []struct {
	name  string
	open  bool
	write func(addr string) string
}{
	{"alone", true, func(addr string) string { return addr }},
	{"in a sentence", true, func(addr string) string { return "connect to " + addr + " failed: connection refused" }},
	{"on a line", true, func(addr string) string { return "two problems:\n" + addr + "\nno route to host" }},
	{"as an argument", false, func(addr string) string { return fmt.Sprintf("status does not take the argument %q", addr) }},
	{"in backticks", false, func(addr string) string { return "cannot parse `" + strings.ReplaceAll(addr, "`", "") + "`: failed" }},
	{"as JSON", false, func(addr string) string {
		b, _ := json.Marshal(map[string]string{"address": addr, "level": "info"}) // of strings
		return string(b)
	}},
	{"quoted twice", false, func(addr string) string { return "got " + strconv.Quote(fmt.Sprintf("argument %q, too", addr)) }},
	{"by url.Parse", false, func(addr string) string {
		if _, err := url.Parse(addr); err != nil {
			return err.Error()
		}
		return ""
	}},
}

func TestNoPieceOfASecretIsShownOfATextWithAnAddress(t *testing.T) {
	for i, form := range forms {
		for j, secret := range secrets() {
			if isUser(form, secret) {
				continue
			}
			addr := strings.ReplaceAll(form, "§", secret)
			for k, in := range texts {
				if (i+j+k)%stepOfTexts != 0 || in.open && strings.Contains(secret, " ") && !strings.Contains(form, "://user:§@") {
					continue // there nobody can tell the secret from the next words
				}
				text := in.write(addr)
				got := redact.Message(text)
				if piece := seen(secret, got); piece != "" {
					t.Errorf("%s: %q: got %q, which shows %q", in.name, text, got, piece)
				}
				if again := redact.Message(got); again != got {
					t.Errorf("%s: %q: got %q and then %q", in.name, text, got, again)
				}
				if got := redact.Message(redact.Text(addr, text)); seen(secret, got) != "" {
					t.Errorf("%s: %q of the address %q: got %q", in.name, text, addr, got)
				}
			}
		}
	}
}

func TestATextWithoutASecretStaysAsItIs(t *testing.T) {
	for _, text := range []string{
		"", "user: not found", "at 12:30:45 the relay began", "2026-03-01T06:00:00Z", "stomp://host:61613/queue is away", "dial tcp 127.0.0.1:5432: connect: connection refused",
		"dial tcp [::1]:5432: connect: connection refused", "listen on [::]:8080", "2001:db8::1 is no address", "/var/lib/app/orders.db: no such file or directory", "sqlite:/data/a@b/orders.db",
		"the broker's address stomp://: the host is missing", "use rabbitmqs:// (RabbitMQ, AMQP 0-9-1) or amqp1s:// (ActiveMQ, Artemis and others, AMQP 1.0)",
		"C:\\data\\orders.db", "embedded:path/to/dir", "see https://example.com:8080/docs: it says more", `stats: unknown command "stats" for "waybill"`,
		"Error 1045: Access denied for user 'app'@'db' (using password)", "Error 1045 (28000): Access denied for user 'app'@'10.0.0.1' (using password: YES)",
		"cannot connect to the database mysql://app:xxxxx@db:3306/app: Error 1045 (28000): Access denied for user 'app'@'10.0.0.1' (using password: YES)",
		"the database's address postgres://user:xxxxx: is no valid URL: percent-encode what is special in the user's name and password, such as %40 for '@' and %2F for '/'",
		"the host is missing: use postgres://user:xxxxx@host/database, mysql://user:xxxxx@host:3306/database or sqlite:path/to/file.db",
		"cannot reach kafka://host1,host2:9092 as shop@host 4711", "waybill relay shop@host 4711", "host/4711/ABCDEFGH has the lease", "mail bob@example.com: it waits",
		"failed to connect to `user=app database=app`: 127.0.0.1:5432 (localhost): dial error: connection refused", `FATAL: password authentication failed for user "app" (SQLSTATE 28P01)`,
		`--key "A-1"`, "key=A-1 destination=orders", `{"key":"A-1","destination":"orders","n":1}`, "100% of 5: done", "invalid token: it has expired", "the token is wrong", `{"time":"12:30:45","user":"app"}`,
		"can't do that: it isn't 12:30 yet", "kafka://host:9092?sasl=plain&partitions=6", "stomp+tls://host?ca=/etc/ca.pem&cert=/etc/client.pem&key=/etc/client.key", "postgres:///app?host=/var/run/postgresql",
		"destination orders:created: 3 rows", "tcp(db:3306) does not answer", "nats://h1:4222,nats://h2:4222", "passfile=/home/app/.pgpass host=db", "[amqp://a:5672 amqp://b:5672]",
		"relay.go:12: it panicked\n\tgoroutine 1 [running]:\nmain.main()\n\t/src/relay.go:12 +0x1d",
	} {
		if got := redact.Message(text); got != text {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestWhatIsShownOfAnAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"root:Tr0ub4dor?3@tcp(db)/app":                            "root:xxxxx@tcp(db)/app",
		"root:pa/ss@tcp(db:3306)/app?parseTime=true":              "root:xxxxx@tcp(db:3306)/app?parseTime=true",
		"host=db user=u password=se:cret dbname=app":              "host=db user=u password=xxxxx",
		"jdbc:postgresql://h:5432/db;password=pp;user=u":          "jdbc:postgresql://h:5432/db;password=xxxxx;user=u",
		"failover:(tcp://a:1,ssl://u:hunter2@b:2)?x=y":            "failover:(tcp://a:1,ssl://u:xxxxx@b:2)?x=y",
		"nats://u:hunter2@h1:4222,nats://u:hunter2@h2":            "nats://u:xxxxx@h1:4222,nats://u:xxxxx@h2",
		"kafka://h1:9092,h2:9092?sasl.password=x&sasl.username=u": "kafka://h1:9092,h2:9092?sasl.password=xxxxx&sasl.username=u",
		"postgres://user:hunter2@host:port/app":                   "postgres://user:xxxxx@host:xxxxx/app",
		"https://hunter2@host/x":                                  "https://xxxxx@host/x",
		"mysql:user:hunter2@host/app":                             "mysql:xxxxx@host/app",
		"C:\\data":                                                "xxxxx",
		"hunter2!":                                                "xxxxx",
		"host1:9092, host2:9092":                                  "host1:9092, host2:9092",
		"sqlite:/data/50% #1 äöü.db":                              "sqlite:/data/50% #1 äöü.db",
	} {
		if got := redact.Address(addr); got != want {
			t.Errorf("%q: got %q, want %q", addr, got, want)
		}
	}
}

func TestAnErrorIsWithoutTheSecretsOfItsAddress(t *testing.T) {
	err := redact.Error("postgres://u:hunter2@host", errors.Join(errors.New("no hunter2"), context.Canceled))
	if err == nil || err.Error() != "no xxxxx\ncontext canceled" || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}
