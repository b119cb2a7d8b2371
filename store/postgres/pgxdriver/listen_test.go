package pgxdriver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

func TestAListenerHearsEachNotificationOfItsChannel(t *testing.T) {
	_, db, prefix := connect(t, pgx.QueryExecModeCacheStatement)
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}), make(chan error, 1)
	listen := pgxdriver.Listener(testserver.Address(t, "WAYBILL_TEST_POSTGRES"), postgres.Channel(prefix))
	go func() { ended <- listen(ctx, func() { heard <- struct{}{} }) }()
	<-heard // it listens
	names, err := store.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	notify := postgres.Dialect().Notify(names)
	for range 3 {
		if _, err := db.ExecContext(t.Context(), notify.SQL, notify.Args...); err != nil {
			t.Fatal(err)
		}
		<-heard
	}
	other := postgres.Dialect().Notify(store.Names{Prefix: prefix + "other_"})
	if _, err := db.ExecContext(t.Context(), other.SQL, other.Args...); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), notify.SQL, notify.Args...); err != nil {
		t.Fatal(err)
	}
	<-heard
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got error %v of a listener that was told to end, want none", err)
	}
	select {
	case <-heard:
		t.Error("it heard another channel's notification")
	default:
	}
}

func TestTheLongestPrefixHasAChannelToo(t *testing.T) {
	_, db, short := connect(t, pgx.QueryExecModeCacheStatement)
	schema := (strings.TrimSuffix(short, ".") + strings.Repeat("_long", 8))[:40]
	prefix := schema + "." + strings.Repeat("p", 20)
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP SCHEMA IF EXISTS ` + schema + ` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	names := dialecttest.Migrate(t, db, postgres.Dialect(), prefix)
	dialecttest.Migrate(t, db, postgres.Dialect(), prefix)
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}), make(chan error, 1)
	listen := pgxdriver.Listener(testserver.Address(t, "WAYBILL_TEST_POSTGRES"), postgres.Channel(prefix))
	go func() { ended <- listen(ctx, func() { heard <- struct{}{} }) }()
	<-heard // it listens
	if _, err := db.ExecContext(t.Context(), `INSERT INTO `+names.Message+` (destination, business_mark, message_content) VALUES ('orders', 'A-1', 'x')`); err != nil {
		t.Fatal(err)
	}
	notify := postgres.Dialect().Notify(names)
	if _, err := db.ExecContext(t.Context(), notify.SQL, notify.Args...); err != nil {
		t.Fatal(err)
	}
	<-heard
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAListenerReturnsWhenItsConnectionBreaks(t *testing.T) {
	_, db, prefix := connect(t, pgx.QueryExecModeCacheStatement)
	heard, ended := make(chan struct{}), make(chan error, 1)
	channel := postgres.Channel(prefix)
	go func() {
		ended <- pgxdriver.Listen(t.Context(), testserver.Address(t, "WAYBILL_TEST_POSTGRES"), channel, func() { heard <- struct{}{} })
	}()
	<-heard
	const text = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'LISTEN "' || $1 || '"'`
	var sessions int
	if err := db.QueryRowContext(t.Context(), text, channel).Scan(&sessions); err != nil || sessions != 1 {
		t.Fatalf("got %d sessions ended and error %v, want 1", sessions, err)
	}
	err := <-ended
	if err == nil || !strings.Contains(err.Error(), channel) {
		t.Errorf("got error %v, want one that names the channel", err)
	}
	dialecttest.WantCondition(t, postgres.Dialect(), err, store.Unavailable)
}

func TestAListenerThatCannotConnectSaysWhyWithoutThePassword(t *testing.T) {
	for _, c := range []struct{ name, addr string }{
		{"nobody listens there", "postgres://user:hunter2@127.0.0.1:1/app"},
		{"a port that is none", "postgres://user:hunter2@host:x/app"},
		{"a parameter that is wrong", "postgres://user:hunter2@host/app?sslmode=perhaps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := pgxdriver.Listen(t.Context(), c.addr, "channel", func() { t.Error("notified") })
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got error %v, want one without the password", err)
			}
		})
	}
}

func TestAListenerWhoseContextHasEndedEndsWithoutAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pgxdriver.Listen(ctx, "postgres://user@127.0.0.1:1/app", "channel", func() {}); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}
