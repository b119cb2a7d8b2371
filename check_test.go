package waybill_test

import (
	"fmt"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

var (
	longest = strings.Repeat("ü", waybill.MaxName)
	tooLong = longest + "ü"
)

func TestNamesAreCheckedByTheirRules(t *testing.T) {
	checks := map[string]func(string) error{
		"destination": waybill.CheckDestination, "producer": waybill.CheckProducer,
		"consumer": waybill.CheckConsumer, "key": waybill.CheckKey,
	}
	for _, c := range []struct {
		kind, name, want string // want is a part of the error; "" for none
	}{
		{"destination", "orders", ""},
		{"destination", "a.b/c:d-e_f", ""},
		{"destination", "Größe", ""},
		{"destination", "ackorders", ""},
		{"destination", "ac", ""},
		{"destination", longest, ""},
		{"destination", tooLong, "longer than 255"},
		{"destination", "", "empty"},
		{"destination", "a b", "' '"},
		{"destination", "a\tb", `'\t'`},
		{"destination", "a\u00a0b", `'\u00a0'`},
		{"destination", "a*", "'*'"},
		{"destination", "a>", "'>'"},
		{"destination", "a,b", "','"},
		{"destination", "a?b", "'?'"},
		{"destination", "a#", "'#'"},
		{"destination", "50%", "'%'"},
		{"destination", "ack.x", "reserved"},
		{"destination", "ACK.x", "reserved"},
		{"destination", "\xff", "UTF-8"},
		{"producer", longest[:2*waybill.MaxProducer], ""},
		{"producer", longest, "longer than 186"}, // no room for the receipt queue's prefix and identity
		{"producer", "a b", "' '"},
		{"consumer", longest, ""},
		{"consumer", "ack.x", ""},
		{"consumer", "", "empty"},
		{"key", "", ""},
		{"key", "order 7", ""},
		{"key", " x ", ""},
		{"key", "a:b\\c", ""},
		{"key", longest, ""},
		{"key", tooLong, "longer than 255"},
		{"key", "a\nb", `'\n'`},
		{"key", "a\u0085b", `'\u0085'`},
		{"key", "\xff", "UTF-8"},
	} {
		t.Run(fmt.Sprintf("%s %.20q", c.kind, c.name), func(t *testing.T) {
			expect(t, checks[c.kind](c.name), c.want)
		})
	}
}

func TestHeadersThatABrokerCouldMistakeAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, value, want string // want is a part of the error; "" for none
	}{
		{"traceparent", "value", ""},
		{"content-type", "value", ""},
		{"_x", "value", ""},
		{"$x", "value", ""},
		{"a-b.c_d$e9", "value", ""},
		{"Nats-Msg-Id", "value", ""},
		{"AMQ", "value", ""},
		{"jm", "value", ""},
		{"amq-msg", "value", ""},
		{strings.Repeat("n", 255), "value", ""},
		{"", "value", "1 to 255"},
		{strings.Repeat("n", 256), "value", "1 to 255"},
		{"1x", "value", "letter"},
		{"-x", "value", "letter"},
		{".x", "value", "letter"},
		{"a b", "value", "letter"},
		{"ä", "value", "letter"},
		{"a:b", "value", "letter"},
		{"JMSType", "value", "begin with JMS"},
		{"jms_amqp_x", "value", "begin with JMS"},
		{"_AMQ_DUPL_ID", "value", "begin with _AMQ_"},
		{"_amq_dupl_id", "value", "begin with _AMQ_"},
		{"__AMQ_CID", "value", "begin with __AMQ_"},
		{"messageId", "value", "reserved"},
		{"MESSAGEID", "value", "reserved"},
		{"failures", "value", "reserved"},
		{"floor", "value", "reserved"},
		{"destination", "value", "reserved"},
		{"content-length", "value", "reserved"},
		{"amq-msg-type", "value", "reserved"},
		{"AMQ-Msg-Type", "value", "reserved"},
		{"original-destination", "value", "reserved"},
		{"x", "", ""},
		{"x", strings.Repeat("ü", 32<<10), ""}, // the limit counts characters
		{"x", strings.Repeat("v", 32<<10+1), "longer"},
		{"x", "a\nb", "control"},
		{"x", "\x00", "control"},
		{"x", "\xff", "UTF-8"},
	} {
		t.Run(fmt.Sprintf("%.20q: %.20q", c.name, c.value), func(t *testing.T) {
			expect(t, waybill.CheckHeader(c.name, c.value), c.want)
		})
	}
}

func TestHeadersAreBoundedInNumberAndBytes(t *testing.T) {
	many := func(n, bytes int) map[string]string {
		headers := map[string]string{}
		for i := range n {
			name := fmt.Sprintf("h%04d", i)
			headers[name] = strings.Repeat("v", bytes/n-len(name))
		}
		return headers
	}
	for _, c := range []struct {
		name    string
		headers map[string]string
		want    string // a part of the error; "" for none
	}{
		{"none", nil, ""},
		{"as many as there may be", many(waybill.MaxHeaders, 2000), ""},
		{"one more", many(waybill.MaxHeaders+1, 2020), "101 headers, the limit is 100"},
		{"as large as they may be", many(64, waybill.MaxHeaderBytes), ""},
		{"larger", many(64, waybill.MaxHeaderBytes+64), "65600 bytes, the limit is 65536"},
		{"a name that is none", map[string]string{"a b": ""}, "letter"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, waybill.CheckHeaders(c.headers), c.want) })
	}
}

// expect fails where err is not one that has want in it; want "" stands for no error.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got the error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got the error %v, want one with %q", err, want)
	}
}
