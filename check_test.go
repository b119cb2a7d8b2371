package waybill_test

import (
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

func TestHeadersThatNoBrokerMistakes(t *testing.T) {
	for _, name := range []string{"traceparent", "content-type", "_x", "$x", "a-b.c_d$e9", "Nats-Msg-Id", "AMQ", "jm", "amq-msg", strings.Repeat("n", 255)} {
		if err := waybill.CheckHeader(name, "value"); err != nil {
			t.Errorf("%.20s: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"": "1 to 255", strings.Repeat("n", 256): "1 to 255",
		"1x": "letter", "-x": "letter", ".x": "letter", "a b": "letter", "ä": "letter", "a:b": "letter",
		"JMSType": "begin with JMS", "jms_amqp_x": "begin with JMS",
		"_AMQ_DUPL_ID": "begin with _AMQ_", "_amq_dupl_id": "begin with _AMQ_", "__AMQ_CID": "begin with __AMQ_",
		"messageId": "reserved", "MESSAGEID": "reserved", "failures": "reserved", "floor": "reserved",
		"destination": "reserved", "content-length": "reserved",
		"amq-msg-type": "reserved", "AMQ-Msg-Type": "reserved", "original-destination": "reserved",
	} {
		if err := waybill.CheckHeader(name, "value"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v; want %q", name, err, want)
		}
	}
	for value, want := range map[string]string{"a\nb": "control", "\x00": "control", "\xff": "UTF-8", strings.Repeat("v", 32<<10+1): "longer"} {
		if err := waybill.CheckHeader("x", value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the value %.20q: %v; want %q", value, err, want)
		}
	}
}
