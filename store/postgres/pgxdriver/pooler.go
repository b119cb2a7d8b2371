package pgxdriver

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// BehindPooler says whether a connection leads to a pooler, such as PgBouncer, and not to
// the server itself. A pooler in transaction mode may take each transaction to another
// session: statements prepared before are not there, and notifications do not come. It
// tells by the process that answers, which is another one than the pooler has named.
func BehindPooler(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	results, err := conn.Exec(ctx, `SELECT pg_backend_pid()`).ReadAll()
	if err != nil {
		return false, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return false, nil
	}
	return string(results[0].Rows[0][0]) != strconv.FormatUint(uint64(conn.PID()), 10), nil
}
