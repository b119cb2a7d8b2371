package relay

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
)

// arrives has a relay take one message of receipts, without its slow ones.
func (s *steppedTerm) arrives(receipts []waybill.Receipt) {
	m := wire.EncodeReceipts(waybill.ReceiptQueue("waybill", s.identity), "test", receipts)
	s.handle(s.t.Context(), []broker.Delivery{{Message: m}})
}

// receiptsFor returns receipts for n messages that nobody has sent.
func receiptsFor(n int, outcome waybill.Outcome, reason string) (all []waybill.Receipt) {
	for range n {
		all = append(all, waybill.Receipt{ID: waybill.NewID(), Outcome: outcome, Error: reason})
	}
	return all
}

func TestReceiptsOfRowsThatAreNotThereCostNoStatementEach(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	for _, outcome := range []waybill.Outcome{waybill.Retry, waybill.Rejected} {
		s.arrives(receiptsFor(5000, outcome, "made up"))
		if n := len(s.slowReceipts.waiting); n != 0 {
			t.Errorf("%d receipts %s of rows that are not there wait for statements of their own, want none", n, outcome)
		}
	}
}

// A consumer that fails with everything, and a relay that does not come to write that, hold up
// nobody else's receipts.
func TestWhatIsDoneWaitsForNoReceiptThatIsSlow(t *testing.T) {
	const n = maxSlowReceipts + 500
	s := newSteppedTerm(t, 0, Options{})
	s.exec(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO qmessage (destination, message_content) SELECT 'orders', x'00' FROM n`, n)
	all := s.messages() // a hundred thousand at most
	long := strings.Repeat("e", 2000)
	failing := make([]waybill.Receipt, n)
	for i := range failing {
		failing[i] = waybill.Receipt{ID: all[i], Outcome: waybill.Retry, Error: long}
	}
	for len(failing) > 0 { // of messages in no window: after a change of relay, say
		some := failing[:min(len(failing), wire.MaxReceipts)]
		failing = failing[len(some):]
		s.arrives(some)
	}
	if got := len(s.slowReceipts.waiting); got != maxSlowReceipts {
		t.Errorf("%d slow receipts wait, want %d", got, maxSlowReceipts)
	}
	s.arrives([]waybill.Receipt{{ID: all[n], Outcome: waybill.Done}})
	if got := s.number(`SELECT COUNT(*) FROM qmessage`); got != n {
		t.Errorf("%d rows are left, want %d: the one that is done is gone", got, n)
	}
	for range 20 {
		c, _ := s.slowReceipts.take()
		s.settleOne(t.Context(), c)
	}
	if got := s.number(`SELECT COUNT(*) FROM qmessage WHERE failures = 1`); got != 20 {
		t.Errorf("%d rows have a failure, want 20", got)
	}
}

func TestAReceiptThatItsMessageWaitsForIsNeverDropped(t *testing.T) {
	s := slowReceipts{added: make(chan struct{}, 1)}
	long := strings.Repeat("ü", 1000)
	one := func(isKept bool) slowReceipt {
		return slowReceipt{consumerReceipt: consumerReceipt{waybill.Receipt{ID: waybill.NewID(), Error: long}, "test"}, isKept: isKept}
	}
	dropped := 0
	for i := range 3 * maxSlowReceipts {
		dropped += s.put([]slowReceipt{one(i%2 == 0)})
	}
	kept, bytes := 0, 0
	for c, ok := s.take(); ok; c, ok = s.take() {
		if c.isKept {
			kept++
		}
		bytes += len(c.Error)
	}
	if want := 3 * maxSlowReceipts / 2; kept != want || dropped != maxSlowReceipts {
		t.Errorf("%d were kept and %d dropped, want %d and %d", kept, dropped, want, maxSlowReceipts)
	}
	if most := maxSlowReceipts*len(long) + maxSlowReceipts*maxSlowError; bytes > most {
		t.Errorf("they have %d bytes of errors, want %d at most", bytes, most)
	}
}

// A message of a million receipts is one line in the log, and one that is counted.
func TestAMessageOfTooManyReceiptsIsRefused(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	var log strings.Builder
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.insert(1, 1)
	id := s.messages()[0]
	s.arrives(append([]waybill.Receipt{{ID: id, Outcome: waybill.Done}}, receiptsFor(20_000, waybill.Retry, "")...))
	if got := s.r.Stats(); got.Malformed != 1 || got.Receipts != 0 || s.number(`SELECT COUNT(*) FROM qmessage`) != 1 {
		t.Errorf("%d are counted as malformed and %d as receipts, want 1 and none", got.Malformed, got.Receipts)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("more than %d receipts", 10*wire.MaxReceipts)) {
		t.Errorf("the log does not say why:\n%s", log.String())
	}
}
