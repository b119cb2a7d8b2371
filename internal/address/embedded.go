//go:build !waybill_lean || waybill_embedded

package address

import (
	"errors"
	"fmt"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats/embedded"
)

func openEmbedded(dir string) (broker.Broker, error) {
	b, err := embedded.New(dir, nil)
	if errors.Is(err, embedded.ErrLocked) {
		err = fmt.Errorf("%w: it serves one process at a time; for several use a broker that is a server", err)
	}
	return orNil(b, err)
}
