package activemq

import (
	"fmt"

	"github.com/waybill-go/waybill/broker"
)

// AdapterOf names the type of the connection that an adapter has made.
func AdapterOf(c broker.Conn) string { return fmt.Sprintf("%T", c.(*conn).Conn) }
