package browser

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// build makes the command.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "waybill")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/waybill")
	command.Dir = root // and with that module's requirements
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

var pageAt = regexp.MustCompile(`page=(http://\S+)`)

// page has the command serve the page of the shop's database, as another process, and returns
// where.
func (w *world) page(program string) (url string) {
	w.t.Helper()
	command := exec.CommandContext(context.Background(), program, "ui", "--database", "shop="+w.address, "--http", "127.0.0.1:0")
	said, err := command.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	lines := make(chan string, 1000)
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(said); scanner.Scan(); {
			lines <- scanner.Text()
		}
		_ = command.Wait() // it is told to end
	}()
	w.t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	limit := time.After(patience.Limit)
	for {
		select {
		case line := <-lines:
			if at := pageAt.FindStringSubmatch(line); at != nil {
				return at[1]
			}
		case <-ended:
			w.t.Fatal("waybill ui has ended")
		case <-limit:
			w.t.Fatal("waybill ui does not say where its page is")
		}
	}
}

// says runs the command.
func (w *world) says(program string, args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(patience.Context(w.t), program, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("waybill %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// paused waits until the relay sends nothing to one destination, or holds none.
func (w *world) paused(want bool) {
	w.t.Helper()
	patience.Until(w.t, "the relay obeys", func() bool { return len(w.relay.Stats().Paused) == map[bool]int{true: 1}[want] })
}

func TestAPauseIsSeenByEveryProcessAndObeyed(t *testing.T) {
	t.Parallel()
	var orders, others atomic.Int64
	w := newWorld(t, setup{destinations: []string{"orders", "others"}}, func(_ context.Context, m *waybill.Message) error {
		map[string]*atomic.Int64{"orders": &orders, "others": &others}[m.Destination].Add(1)
		return nil
	})
	// One that is due later keeps the destination in sight, whatever the page's process knows.
	w.send(waybill.Message{Destination: "orders", NotBefore: time.Now().Add(3 * time.Hour)})
	program := build(t)
	here, there := newTab(t, w.url), newTab(t, w.page(program)) // of the relay's process, and of another
	here.open("")
	there.open("")
	row := func(p *tab, state, why string) {
		t.Helper()
		p.until("the row of orders is "+state+": "+why, `[...document.querySelectorAll("tbody tr")].some(r =>
			r.querySelector("th").textContent.trim() === "orders" && r.querySelector(".state").textContent === `+plain(state)+` && r.querySelector(".why").textContent.includes(`+plain(why)+`))`)
	}
	act := func(p *tab) {
		t.Helper()
		p.click("tbody tr:has(th a[href*='destination=orders']) a.act", "")
		p.has("h1", "Paused destinations")
	}
	// passed sends a message to each, of which only that of orders is held up.
	passed := func(held bool) {
		t.Helper()
		gone, passed := orders.Load(), others.Load()
		w.send(waybill.Message{Destination: "orders"})
		w.send(waybill.Message{Destination: "others"})
		patience.Until(t, "the message to others is handled", func() bool { return others.Load() == passed+1 })
		if held && orders.Load() != gone {
			t.Error("a message went to a destination that is paused")
		}
		if !held {
			patience.Until(t, "the message to orders is handled", func() bool { return orders.Load() > gone })
		}
	}

	// The command pauses; both pages show it, and the other one has it go on.
	w.says(program, "pause", "orders", "--db", w.address, "--reason", "the carrier is away", "--by", "ann")
	row(here, "paused", "paused by ann")
	row(there, "paused", "the carrier is away")
	w.paused(true)
	passed(true)
	act(there)
	there.has("tbody", "the carrier is away")
	there.click("button", "Resume")
	there.has(".note", "Nothing is paused here.")
	w.paused(false)
	patience.Until(t, "what waited is handled", func() bool { return orders.Load() == 1 })
	there.open("")
	row(here, "moving", "due")

	// The page pauses; the other process's page shows it, and the command has it go on.
	act(here)
	here.fill("Why, for whoever looks at it", "we look at it")
	here.click("section.form button", "Pause")
	here.has("tbody", "we look at it")
	row(there, "paused", "we look at it")
	w.paused(true)
	passed(true)
	w.says(program, "resume", "orders", "--db", w.address)
	w.paused(false)
	passed(false)
	here.open("")
	row(here, "moving", "due")
	row(there, "moving", "due")
}
