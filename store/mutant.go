package store

import (
	"context"
	"fmt"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// selectThenUpdate is a guard that two transactions can pass at a time, a planted bug:
// see internal/fault/mutant.
func (l *Ledger) selectThenUpdate(ctx context.Context, tx Session, marks []Mark) ([]Verdict, error) {
	verdicts := make([]Verdict, len(marks))
	for i, m := range marks {
		stale := false
		err := l.readLatest(ctx, tx, marks[i:i+1], func(_ latestKey, id waybill.ID) { stale = id.Compare(m.ID) >= 0 })
		if stale {
			verdicts[i] = Superseded
		} else if err == nil {
			err = l.removeLatest(ctx, tx, m)
		}
		if err == nil && !stale {
			_, err = l.record(ctx, tx, marks[i:i+1], byKey, l.dialect.RecordLatest, l.findSuperseded(l.readLatest))
		}
		if err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
	}
	return verdicts, nil
}

func (l *Ledger) removeLatest(ctx context.Context, tx Session, m Mark) error {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	topic := 0
	if m.Topic {
		topic = 1
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE consumer = %s AND dest_name = %s AND dest_type = %d AND business_mark = %s",
		l.names.Latest, quote(l.consumer), quote(m.Destination), topic, quote(m.Key)))
	return err
}
