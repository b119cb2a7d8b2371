//go:build waybill_lean && !waybill_rabbitmq && !waybill_mysql

package address_test

import (
	"testing"

	"github.com/waybill-go/waybill/internal/address"
)

// go test -tags waybill_lean -run LeftOut ./internal/address
func TestWhatIsLeftOutIsNamedWithItsTag(t *testing.T) {
	b, err := address.OpenBroker("rabbitmq://a:b@mq.example.com")
	if b != nil {
		t.Error("got a broker")
	}
	wantError(t, err, "waybill_rabbitmq")
	db, _, err := address.OpenDatabase("mysql://a:b@db.example.com/app")
	if db != nil {
		t.Error("got a database")
	}
	wantError(t, err, "waybill_mysql")
}
