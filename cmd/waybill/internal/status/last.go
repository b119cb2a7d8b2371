package status

import (
	"context"
	"database/sql"
	"fmt"
)

// lastGiven reads the last row id that the database has given out, also for rows
// that are gone, by dialect.
var lastGiven = map[string]string{
	"postgres": `SELECT pg_sequence_last_value(pg_get_serial_sequence('{qmessage}', 'id')::regclass)`,
	"sqlite":   `SELECT seq FROM sqlite_sequence WHERE name = '{.qmessage}'`,
}

// lastHere is what any database knows.
const lastHere = `SELECT max(id) FROM {qmessage}`

// lastID is the last row id that is known of. Where the database does not tell, or
// not this user, it is that of the newest row, or what the relay has read.
func (r *Reader) lastID(ctx context.Context, cursor int64) (int64, error) {
	var last sql.NullInt64
	if text, ok := lastGiven[r.dialect.Name()]; ok {
		if err := r.db.QueryRowContext(ctx, r.names.SQL(text)).Scan(&last); err == nil {
			return last.Int64, nil
		}
	}
	if err := r.db.QueryRowContext(ctx, r.names.SQL(lastHere)).Scan(&last); err != nil {
		return 0, fmt.Errorf("read the highest id: %w", err)
	}
	return max(last.Int64, cursor), nil
}
