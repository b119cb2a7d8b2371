package inbox

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	limits "github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A handler that writes through a connection of its own waits for its own transaction, which
// no database finds out: each try loses.
func TestAHandlerThatLosesAgainAndAgainIsAskedWhatItWritesThrough(t *testing.T) {
	b := memory.New(nil)
	var log logBuffer
	in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, _ *waybill.Message) error {
		var file string
		if err := tx.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&file); err != nil {
			return err
		}
		other, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(0)")
		if err != nil {
			return err
		}
		defer other.Close()
		_, err = other.ExecContext(ctx, `CREATE TABLE shipments (number text)`)
		return err
	})
	ids := publishKeys(t, b, "a")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	const asked = "does the handler write through a connection of its own"
	limits.Until(t, "the log asks", func() bool { return log.line(asked) != "" })
	if line := log.line(asked); !strings.Contains(line, ids[0].String()) || !strings.Contains(line, "conflicts=1 ") || !strings.Contains(line, "level=WARN") || !strings.Contains(line, "destination=orders") {
		t.Errorf("the log says %q; want a warning with the message and its destination", line)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
