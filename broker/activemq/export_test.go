package activemq

import (
	"fmt"

	"github.com/waybill-go/waybill/broker"
)

// Connector names the connection within.
func Connector(c broker.Conn) string { return fmt.Sprintf("%T", c.(*conn).Conn) }
