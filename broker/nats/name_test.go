package nats

import (
	"math/rand/v2"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

func TestDestinationsAreSubjectsOfTheSameNameWhereTheyCanBe(t *testing.T) {
	for _, c := range []struct {
		name  string
		topic bool
		want  string
	}{
		{"orders", false, "orders"},
		{"orders.eu.Paris-1_x", false, "orders.eu.Paris-1_x"},
		{"ack.orders", false, "ack.orders"},
		{"a/b:c", false, "a/b:c"},
		{"größe", false, "größe"},
		{"orders", true, "topic#.orders"},
		{".a", false, "%2Ea"},
		{"a.", false, "a%2E"},
		{"a..b", false, "a.%2Eb"},
		{"...", false, "%2E%2E%2E"},
		{"$SYS.x", false, "%24SYS.x"},
		{"_INBOX.x", false, "%5FINBOX.x"},
		{"a_b$c", false, "a_b$c"},
	} {
		t.Run(c.want, func(t *testing.T) {
			if got := subject(c.name, c.topic, ""); got != c.want {
				t.Errorf("subject(%q, %v) = %q, want %q", c.name, c.topic, got, c.want)
			}
		})
	}
	if got := subject("orders", true, "wb.test"); got != "wb.test.topic#.orders" {
		t.Errorf("with a prefix the subject is %q, want wb.test.topic#.orders", got)
	}
}

func TestNamesAreMappedOneToOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "B", "b", ".", "/", "\\", "_", "-", ":", "=", "2", "E", "$", "é", "e\u0301", "漢", "~", "+", "F", "^"}
	subjects, streams, groups := map[string]string{}, map[string]string{}, map[string]string{}
	check := func(seen map[string]string, kind, mapped, from string) {
		if other, ok := seen[mapped]; ok && other != from {
			t.Errorf("%s of %q and %q are both %q", kind, from, other, mapped)
		}
		seen[mapped] = from
	}
	for range 20_000 {
		var b strings.Builder
		for range 1 + random.IntN(6) {
			b.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		name := b.String()
		if random.IntN(20) == 0 {
			name = strings.Repeat(name, 255)[:255]
		}
		if waybill.CheckDestination(name) != nil {
			continue
		}
		for _, topic := range []bool{false, true} {
			key := name
			if topic {
				key = "topic " + name
			}
			s := subject(name, topic, "")
			if strings.Contains(s, "..") || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.ContainsAny(s, "*> ") {
				t.Errorf("the subject of %q is %q, which is none", name, s)
			}
			check(subjects, "the subjects", s, key)
			stream := streamName(name, topic, "")
			if len(stream) > 200 || strings.ContainsAny(stream, ".*>/\\ %") {
				t.Errorf("the stream of %q is %q, which is none", name, stream)
			}
			// As a file system sees it that does not tell upper from lower case.
			check(streams, "the streams", strings.ToLower(stream), key)
		}
		check(groups, "the consumers", groupName(name, &place{name: "x", own: true}), name)
		check(groups, "the consumers", groupName(name, &place{name: "y"}), name+" at y")
	}
}

func TestHeadersAreMappedOneToOne(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	names := []string{"a", "A", "Nats-Msg-Id", "status", "Status", "nats-ttl", "Nats-Rollup", "NATS-x", "Content-Type", "content-TYPE", "Description", "traceparent", "x.y"}
	pieces := []string{" ", "%", "%20", "*", ":", "é", "\u00a0", "x", "\\", `"`, "UTF-8''"}
	for range 5000 {
		m := broker.Message{ContentType: []string{"", "text/plain"}[random.IntN(2)]}
		for _, i := range random.Perm(len(names))[:random.IntN(len(names))] {
			value := ""
			for range random.IntN(4) {
				value += pieces[random.IntN(len(pieces))]
			}
			m.Headers = append(m.Headers, broker.Header{Name: names[i], Value: value})
		}
		var got broker.Message
		readHeader(&got, header(&m))
		if got.ContentType != m.ContentType {
			t.Fatalf("content type %q became %q", m.ContentType, got.ContentType)
		}
		if len(got.Headers) != len(m.Headers) {
			t.Fatalf("%q became %q", m.Headers, got.Headers)
		}
		for _, h := range m.Headers {
			if value, ok := got.Header(h.Name); !ok || value != h.Value {
				t.Fatalf("header %q: %q became %q", h.Name, h.Value, value)
			}
		}
		for name, values := range header(&m) {
			if values[0] != strings.Trim(values[0], " \t\r\n") || name != contentType && ownName(name) && !strings.HasSuffix(name, escapedMark) {
				t.Fatalf("NATS would change the header %q: %q", name, values[0])
			}
		}
	}
}

func TestAcknowledgementSubjectsAreRead(t *testing.T) {
	for _, c := range []struct {
		reply       string
		redelivered bool
		sequence    uint64
	}{
		{"$JS.ACK.stream.consumer.1.42.7.1790000000000000000.3", false, 42},
		{"$JS.ACK.stream.consumer.2.43.7.1790000000000000000.3", true, 43},
		{"$JS.ACK.hub.ACCHASH.stream.consumer.1.44.7.1790000000000000000.3", false, 44},
		{"$JS.ACK._.ACCHASH.stream.consumer.12.45.7.1790000000000000000.3.token", true, 45},
		{"$JS.ACK.short", false, 0},
		{"", false, 0},
	} {
		t.Run(c.reply, func(t *testing.T) {
			if redelivered, sequence := ackSubject(c.reply); redelivered != c.redelivered || sequence != c.sequence {
				t.Errorf("got %v, %d; want %v, %d", redelivered, sequence, c.redelivered, c.sequence)
			}
		})
	}
}

func TestAnAddressSaysWhereTheServersAreAndWhoLogsIn(t *testing.T) {
	for _, c := range []struct{ text, hosts, user, password, token string }{
		{"nats://localhost", "localhost:4222", "", "", ""},
		{"nats://a:1,b,[::1]:3/", "a:1,b:4222,[::1]:3", "", "", ""},
		{"nats://u:p%40%2F@a,b:5", "a:4222,b:5", "u", "p@/", ""},
		{"nats://u:p@a,u:p@b", "a:4222,b:4222", "u", "p", ""},
		{"nats://t%3Aken@a", "a:4222", "", "", "t:ken"},
		{"tls+nats://u:@a", "a:4222", "u", "", ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			b, err := New(c.text, nil)
			if err != nil {
				t.Fatalf("New: %v; want no error", err)
			}
			if b.hosts() != c.hosts || b.user != c.user || b.password != c.password || b.token != c.token {
				t.Errorf("got hosts %q, user %q, password %q, token %q; want %+v", b.hosts(), b.user, b.password, b.token, c)
			}
		})
	}
}

func TestTheParametersOfAnAddressGoBeforeTheOptions(t *testing.T) {
	b, err := New("nats://a?creds=/x.creds&replicas=3", &Options{User: "u", Password: "p", Credentials: "/y.creds", Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	if b.options.Credentials != "/x.creds" || b.options.Replicas != 3 {
		t.Errorf("got the credentials %q and %d replicas, want /x.creds and 3", b.options.Credentials, b.options.Replicas)
	}
	if b.user != "u" || b.password != "p" {
		t.Errorf("got the user %q with the password %q, want those of the options", b.user, b.password)
	}
}

func TestAnAddressThatCannotBeReadIsNeverRepeated(t *testing.T) {
	wrong := map[string]string{}
	for _, address := range []string{
		"", "localhost:4222", "http://u:s3cret@a", "nats://", "nats://u:s3cret@", "nats://u:s3cret@a:port",
		"nats://u:s3c,ret@a", "nats://u:s3cret@a/path", "nats://u:s3cret@a#f", "nats://u:s3cret%zz@a", "nats://u:s3cret@a?x=y",
		"nats://u:s3cret@a?ca=/x", "nats://u:s3cret@a?%zz", "nats://u:s3cret@a,v:other@b", "tls+nats://u:s3cret@a?ca=/does/not/exist",
		"tls+nats://u:s3cret@a?cert=/x", "nats://u:s3cret@a b", "nats://u:s3cret@a?replicas=many", "nats://u:s3cret@a?replicas=9",
	} {
		wrong[address] = "" // whatever the error says
	}
	servertest.WrongAddresses(t, func(address string) error { _, err := New(address, nil); return err }, wrong)
}

func TestOptionsAreCheckedAllAtOnce(t *testing.T) {
	_, err := New("nats://a", &Options{Prefix: "a..b", Replicas: 9, AckWait: 1, Window: -1})
	for _, field := range []string{"Prefix", "Replicas", "AckWait", "Window"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("New: %v; want %s in it, too", err, field)
		}
	}
}

func TestVersionsAreCompared(t *testing.T) {
	for version, old := range map[string]bool{
		"2.9.10": true, "2.10.29": true, "2.11.0": false, "2.15.2": false, "2.12.0-RC.1": false, "3.0.0": false, "1.4.1": true, "": true,
	} {
		t.Run(version, func(t *testing.T) {
			if got := olderThan(version, 2, 11); got != old {
				t.Errorf("older than 2.11: got %v, want %v", got, old)
			}
		})
	}
}
