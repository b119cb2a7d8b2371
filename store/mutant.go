package store

import (
	"context"
	"database/sql"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// selectThenUpdate is a guard that two transactions can pass at a time, a planted bug:
// see internal/fault/mutant.
func (l *Ledger) selectThenUpdate(ctx context.Context, tx Session, marks []Mark) ([]Verdict, error) {
	verdicts := make([]Verdict, len(marks))
	for i, m := range marks {
		stale := false
		err := each(ctx, tx, l.dialect.LatestIDs(l.names, l.consumer, marks[i:i+1]), func(rows *sql.Rows) error {
			var k, d string
			var id waybill.ID
			err := rows.Scan(&d, &k, &id)
			stale = id.Compare(m.ID) >= 0
			return err
		})
		if stale {
			verdicts[i] = Superseded
		} else if err == nil {
			err = l.removeLatest(ctx, tx, m)
		}
		if err == nil && !stale {
			_, err = l.record(ctx, tx, marks[i:i+1], byKey, l.dialect.RecordLatest, l.findSuperseded)
		}
		if err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
	}
	return verdicts, nil
}

func (l *Ledger) removeLatest(ctx context.Context, tx Session, m Mark) error {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	_, err := tx.ExecContext(ctx, "DELETE FROM "+l.names.Latest+" WHERE consumer = "+quote(l.consumer)+
		" AND dest_name = "+quote(m.Destination)+" AND business_mark = "+quote(m.Key))
	return err
}
