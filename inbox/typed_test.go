package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
)

type order struct {
	ID   int    `json:"id"`
	Item string `json:"item"`
}

func TestATypedHandlerGetsTheValueAndRejectsWhatIsNone(t *testing.T) {
	var got []order
	handler := inbox.JSON(func(_ context.Context, _ *sql.Tx, m *waybill.Message, v order) error {
		got = append(got, v)
		return errors.New("of the handler")
	})
	sent, err := waybill.JSON("orders", "7", order{7, "book"})
	if err != nil || sent.Destination != "orders" || sent.Key != "7" || sent.Headers["content-type"] != "application/json" {
		t.Fatalf("got %+v and error %v", sent, err)
	}
	for body, permanent := range map[string]bool{
		string(sent.Body): false, `{"id": 7, "item": "book", "new": true}`: false, " {} \n": false,
		"": true, "{": true, `{"id": "seven"}`: true, `{"id": 7} {}`: true, `{"id": 7} x`: true, "\xff": true,
	} {
		calls := len(got)
		err := handler(t.Context(), nil, &waybill.Message{Body: []byte(body)})
		var is *waybill.PermanentError
		if errors.As(err, &is) != permanent || permanent != (len(got) == calls) {
			t.Errorf("body %q: got error %v and %d calls, want it permanent: %v", body, err, len(got)-calls, permanent)
		}
		if !permanent && err.Error() != "of the handler" || permanent && !strings.Contains(err.Error(), "inbox_test.order") {
			t.Errorf("body %q: got error %v", body, err)
		}
	}
	if !slices.Contains(got, order{7, "book"}) {
		t.Errorf("got %v, want the value that was sent", got)
	}
	if _, err := waybill.JSON("orders", "", func() {}); err == nil || !strings.Contains(err.Error(), "orders") {
		t.Errorf("got error %v of a function as JSON, want one that names the destination", err)
	}
}
