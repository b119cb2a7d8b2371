package survey

import (
	"cmp"
	"context"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Fates is what has become of messages that were sent again.
type Fates struct {
	Gone   int    // no longer there: confirmed, or handled
	Failed int    // rejected again, or to be tried again after a failure
	Reason string // of one that has failed
}

// Fates looks what has become of messages that Resend has sent again.
func (r *Reader) Fates(ctx context.Context, sent []*Rejected) (Fates, error) {
	var f Fates
	var ids []waybill.ID
	byID := map[waybill.ID]bool{}
	for _, x := range sent {
		if x.Side == store.Producer {
			ids = append(ids, x.MessageID)
			byID[x.MessageID] = true
			continue
		}
		rows, err := r.keeper.Find(ctx, x.MessageID)
		if err != nil {
			return f, err
		}
		there := false
		for i := range rows {
			if k := &rows[i]; k.ID == x.Row {
				there = true
				if k.Status == store.Rejected || k.Failures > 0 {
					f.fail(k.Reason)
				}
			}
		}
		if !there {
			f.Gone++
		}
	}
	rows, err := r.queue.FindBriefly(ctx, ids)
	if err != nil {
		return f, err
	}
	var failed waybill.ID
	for i := range rows {
		delete(byID, rows[i].MessageID)
		if rows[i].Status == store.Rejected || rows[i].Failures > 0 {
			f.fail("")
			failed = rows[i].MessageID
		}
	}
	f.Gone += len(byID)
	if f.Reason == "" && !failed.IsZero() {
		whole, err := r.queue.Find(ctx, []waybill.ID{failed})
		if err != nil {
			return f, err
		}
		for i := range whole {
			f.Reason = whole[i].LastError
		}
	}
	return f, nil
}

func (f *Fates) fail(reason string) {
	f.Failed++
	f.Reason = cmp.Or(f.Reason, reason)
}
