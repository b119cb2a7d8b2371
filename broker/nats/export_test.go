package nats

import "github.com/waybill-go/waybill/broker"

// ServerOf is the address, host:port, of the server that a connection has found.
func ServerOf(c broker.Conn) string { return c.(*conn).nc.ConnectedAddr() }
