package kafka

import (
	"runtime"
	"testing"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker"
)

// fetched is a record as the library hands it over: but for the headers' names, its parts are in
// the buffer of a whole fetch.
func fetched(buffer []byte) *kgo.Record {
	return &kgo.Record{Value: buffer[:10], Key: buffer[10:14], Headers: []kgo.RecordHeader{{Key: "name", Value: buffer[24:30]}}}
}

func TestAMessageKeepsNothingOfTheFetchThatItCameWith(t *testing.T) {
	buffer := new([1 << 20]byte)
	for i := range buffer {
		buffer[i] = 'x'
	}
	held := weak.Make(buffer)
	d := decode(fetched(buffer[:]), &broker.Subscription{Destination: "orders"})
	runtime.GC()
	if held.Value() != nil {
		t.Error("the buffer of the fetch is in memory as long as one of its messages")
	}
	if string(d.Body) != "xxxxxxxxxx" || d.Key != "xxxx" || d.Headers[0] != (broker.Header{Name: "name", Value: "xxxxxx"}) {
		t.Errorf("got %+v", d.Message)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{200, 10_000} {
		b.Run(map[int]string{200: "200B", 10_000: "10kB"}[size], func(b *testing.B) {
			buffer := make([]byte, 1<<20)
			r := fetched(buffer)
			r.Value = buffer[:size]
			for i := range 6 {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: "messageId", Value: buffer[i*36 : i*36+36]})
			}
			b.ReportAllocs()
			for b.Loop() {
				_ = decode(r, &broker.Subscription{Destination: "orders"})
			}
		})
	}
}
