// Package verdict has what the verdicts of "waybill demo" and "waybill torture" share: a
// report embeds Figures, and a checker reads a database's rows with EachRow.
package verdict

import (
	"context"
	"database/sql"
)

// Figures are what both commands' reports have, by names that are part of Waybill's
// protocol.
type Figures struct {
	Sent       int64 `json:"sent"`       // messages committed
	Applied    int64 `json:"applied"`    // of these, with an effect
	Resent     int64 `json:"resent"`     // copies sent beyond the first, at least
	Duplicates int64 `json:"duplicates"` // copies that the consumer dropped, at least
	Superseded int64 `json:"superseded"` // messages skipped, since a newer state was there

	Lost     int64 `json:"lost"`     // committed, without an effect, and no newer state in its place
	Doubled  int64 `json:"doubled"`  // with more than one effect
	Stale    int64 `json:"stale"`    // effects that overwrote a newer state
	Phantom  int64 `json:"phantom"`  // effects of nothing that was ever committed
	Leftover int64 `json:"leftover"` // rows still in the outbox
	OK       bool  `json:"ok"`       // the verdict
}

// Querier is a database or a transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// EachRow calls scan for each row of a query, until scan fails.
func EachRow(ctx context.Context, db Querier, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
