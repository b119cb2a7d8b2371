package stomp_test

import (
	"net/url"
	"testing"

	gostomp "github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/testserver"
)

func BenchmarkSTOMP(b *testing.B) {
	for _, variable := range servers {
		b.Run(variable, func(b *testing.B) {
			brokertest.Benchmark(b, servertest.Harness(b, variable, opener(stomp.Options{})))
		})
	}
}

// What the client library does by itself, in the same transactions.
func BenchmarkBareLibraryPublish(b *testing.B) {
	for _, variable := range servers {
		b.Run(variable, func(b *testing.B) {
			address := testserver.Address(b, variable)
			u, err := url.Parse(address)
			if err != nil {
				b.Fatal(err)
			}
			password, _ := u.User.Password()
			bare, err := gostomp.Dial("tcp", u.Host, gostomp.ConnOpt.Login(u.User.Username(), password), gostomp.ConnOpt.HeartBeat(0, 0))
			if err != nil {
				b.Fatal(err)
			}
			defer bare.MustDisconnect()
			servertest.Bare(b, open(b, address, nil), func(queue string, ms []broker.Message) error {
				tx, err := bare.BeginWithError()
				if err != nil {
					return err
				}
				for i := range ms {
					options := []func(*frame.Frame) error{gostomp.SendOpt.Header("persistent", "true")}
					for _, h := range ms[i].Headers {
						options = append(options, gostomp.SendOpt.Header(h.Name, h.Value))
					}
					// A prefix that Artemis as the tests set it up knows, too.
					if err := tx.Send("/queue/"+queue, "", ms[i].Body, options...); err != nil {
						return err
					}
				}
				return tx.CommitWithReceipt()
			})
		})
	}
}
