// Command screenshots makes the pictures of the page in docs/screenshots: it runs two services
// in this process, of which some messages wait and some are rejected, and has Chromium look.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: screenshots DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

// shots are the pictures: the page, and how it is looked at.
var shots = []struct{ name, path, size, scheme string }{
	{"overview", "", "1280,1080", "light"},
	{"overview-dark", "", "1280,1080", "dark"},
	{"overview-chinese", "?lang=zh", "1280,1080", "light"},
	{"overview-phone", "", "500,1100", "light"}, // Chromium has no narrower window
	{"rejected", "rejected", "1280,860", "light"},
	{"messages", "messages?status=rejected", "1280,700", "light"},
	{"message", "MESSAGE", "1280,860", "light"},
	{"pauses", "pauses?destination=orders", "1280,860", "light"},
}

func run(dir string) error {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		return errors.New("chromium is not installed: apt-get install chromium fonts-noto-cjk")
	}
	temp, err := os.MkdirTemp("", "waybill-screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := newWorld(ctx, temp)
	if err != nil {
		return err
	}
	console, err := admin.NewConsole(nil, w.shop, w.shipping)
	if err != nil {
		return err
	}
	defer console.Close()
	server := httptest.NewServer(console)
	defer server.Close()
	if err := w.live(ctx, server.URL); err != nil {
		return err
	}
	id, err := w.aRejected(ctx)
	if err != nil {
		return err
	}
	for _, s := range shots {
		page := strings.ReplaceAll(s.path, "MESSAGE", "messages/"+id.String())
		file, err := filepath.Abs(filepath.Join(dir, s.name+".png"))
		if err != nil {
			return err
		}
		args := []string{
			"--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--user-data-dir=" + filepath.Join(temp, s.name), "--timeout=4000",
			"--window-size=" + s.size, "--screenshot=" + file,
		}
		if s.scheme == "dark" {
			args = append(args, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")
		}
		command := exec.CommandContext(ctx, browser, append(args, server.URL+"/"+page)...)
		if text, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", s.name, err, text)
		}
		fmt.Println(file)
	}
	return nil
}

// world is a shop, which sends, and a shipping service, which consumes.
type world struct {
	shop, shipping admin.Database
	queue          *store.Queue
	out            *outbox.Outbox
}

func open(ctx context.Context, path string, side store.Side) (*sql.DB, store.Dialect, error) {
	db, dialect, err := address.OpenDatabase("sqlite:" + path)
	if err == nil {
		err = store.Migrate(ctx, db, dialect, "", side)
	}
	return db, dialect, err
}

// newWorld starts both services until ctx ends.
func newWorld(ctx context.Context, dir string) (*world, error) {
	broker := memory.New(nil)
	shop, dialect, err := open(ctx, filepath.Join(dir, "shop.db"), store.Producer)
	if err != nil {
		return nil, err
	}
	shipping, _, err := open(ctx, filepath.Join(dir, "shipping.db"), store.Consumer)
	if err != nil {
		return nil, err
	}
	w := &world{}
	if w.queue, err = store.NewQueue(shop, dialect, ""); err != nil {
		return nil, err
	}
	if w.out, err = outbox.New(dialect, nil); err != nil {
		return nil, err
	}
	r, err := relay.New(shop, dialect, broker, &relay.Options{Producer: "shop", MinResend: time.Second, MaxResend: 2 * time.Second})
	if err != nil {
		return nil, err
	}
	in, err := inbox.New(shipping, dialect, broker, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		return nil, err
	}
	in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		switch {
		case strings.HasPrefix(m.Key, "lost-"):
			return waybill.Permanent(fmt.Errorf("order %q is unknown to warehouse %d", m.Key, len(m.Body)))
		case strings.HasPrefix(m.Key, "bad-"):
			return waybill.Permanent(errors.New("body: unexpected end of JSON input"))
		}
		return nil
	})
	w.shop = admin.Database{Name: "shop", DB: shop, Dialect: dialect, About: "sqlite:shop.db", Relay: r}
	w.shipping = admin.Database{Name: "shipping", DB: shipping, Dialect: dialect, About: "sqlite:shipping.db", Inboxes: []*inbox.Inbox{in}}
	other, err := relay.New(shop, dialect, broker, &relay.Options{Producer: "shop"})
	if err != nil {
		return nil, err
	}
	go func() { _ = r.Run(ctx) }()
	time.AfterFunc(time.Second, func() { _ = other.Run(ctx) }) // it stands by
	go func() { _ = in.Run(ctx) }()
	return w, nil
}

func (w *world) send(ctx context.Context, messages ...waybill.Message) error {
	return w.out.InTx(ctx, w.shop.DB, func(tx *sql.Tx) error { return w.out.Send(ctx, tx, messages...) })
}

// live lets the services work for a while as somebody looks on.
func (w *world) live(ctx context.Context, url string) error {
	var first []waybill.Message
	for i := range 41 {
		first = append(first, waybill.Message{Destination: "orders", Key: fmt.Sprint("lost-", i), Body: []byte(fmt.Sprintf(`{"order":%d}`, 7000+i))})
	}
	for i := range 3 {
		first = append(first, waybill.Message{
			Destination: "orders", Key: fmt.Sprint("bad-", i), Body: []byte(`{"order": 4711, "lines": [{"article": "b-12", "count": 2}]}`),
			Headers: map[string]string{"content-type": "application/json", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		})
	}
	for i := range 320 {
		first = append(first, waybill.Message{Destination: "invoices", Key: fmt.Sprint(i), Body: []byte(`{}`)})
	}
	first = append(first, waybill.Message{Destination: "reminders", Body: []byte(`{}`), NotBefore: time.Now().Add(3 * time.Hour)})
	for i := range 12 {
		first = append(first, waybill.Message{Destination: "parcels", Key: fmt.Sprint(i), Body: []byte(`{}`)})
	}
	pause := store.Pause{Destination: "parcels", By: "ann", Reason: "the carrier's API is down until noon"}
	if err := w.queue.Pause(ctx, pause, 2*time.Hour); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // by then the relay obeys
	if err := w.send(ctx, first...); err != nil {
		return err
	}
	go w.traffic(ctx)
	for range 20 { // three quarters of a minute
		if err := look(ctx, url); err != nil {
			return err
		}
		time.Sleep(2200 * time.Millisecond)
	}
	return nil
}

// traffic sends orders until ctx ends.
func (w *world) traffic(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		var some []waybill.Message
		for k := range 3 + i*i%17 {
			some = append(some, waybill.Message{Destination: "orders", Key: fmt.Sprint("o-", i, "-", k), Body: []byte(`{}`)})
		}
		if err := w.send(ctx, some...); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "screenshots:", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// look has the console take samples.
func look(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// aRejected is the id of a message that was rejected.
func (w *world) aRejected(ctx context.Context) (waybill.ID, error) {
	rows, err := w.queue.List(ctx, "orders", store.Rejected, 0, 100)
	if err != nil {
		return waybill.ID{}, err
	}
	for i := range rows {
		if strings.HasPrefix(rows[i].Key, "bad-") {
			return rows[i].MessageID, nil
		}
	}
	return waybill.ID{}, errors.New("no message was rejected")
}
