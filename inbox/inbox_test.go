package inbox

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

// newInbox makes an inbox on a SQLite database of its own that has its tables.
func newInbox(t *testing.T, dialect store.Dialect, b broker.Broker, o *Options) *Inbox {
	t.Helper()
	db, _, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "inbox.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(t.Context(), db, dialect, "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	in, err := New(db, dialect, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// connect connects to a broker.
func connect(t *testing.T, b broker.Broker) broker.Conn {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
