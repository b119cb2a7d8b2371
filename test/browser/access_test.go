package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

const token = "a-token-of-this-test-alone"

// everything is a world in which every kind of page has something to show, and the tab's way to
// each of them.
func everything(t *testing.T, console *admin.Options) (w *world, pages map[string]func(p *tab)) {
	t.Helper()
	w = newWorld(t, setup{
		destinations: []string{"orders", "mails"}, accepted: []string{"mails"}, console: *console, about: "postgres://shop@db.example/shop",
	}, func(_ context.Context, m *waybill.Message) error {
		switch {
		case strings.HasPrefix(m.Key, "lost-"):
			return waybill.Permanent(fmt.Errorf("order %q is unknown to warehouse 7", m.Key))
		case m.Key == "bad", m.Destination == "mails":
			return waybill.Permanent(errors.New("the body is no JSON: unexpected end of input"))
		}
		return nil
	})
	id := waybill.NewID()
	messages := []waybill.Message{
		{Destination: "orders", Key: "done"},
		{Destination: "mails", Key: "kept by the consumer"},
		{Destination: "prices", Topic: true, Key: "waits for a consumer"},
		{Destination: "reminders", NotBefore: time.Now().Add(3 * time.Hour)},
		{ID: id, Destination: "orders", Key: "bad", Body: []byte(`{"order":4711`), Headers: map[string]string{"tenant": "acme"}},
	}
	for i := range 12 {
		messages = append(messages, waybill.Message{Destination: "orders", Key: fmt.Sprint("lost-", i), Body: []byte(`{"order":1}`)})
	}
	w.send(messages...)
	w.rejected("orders", 13)
	w.kept(1)
	err := w.queue.Pause(patience.Context(t), store.Pause{Destination: "invoices", By: "ann", Reason: "the carrier is away"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) func(p *tab) { return func(p *tab) { p.open(path) } }
	return w, map[string]func(p *tab){
		"overview":   at(""),
		"rejected":   at("rejected"),
		"group":      at("rejected?text=unknown"),
		"search":     at("messages?status=rejected"),
		"no result":  at("messages?key=nothing"),
		"message":    at("messages/" + id.String()),
		"consumers":  at("consumers?db=shipping"),
		"pauses":     at("pauses?db=shop"),
		"count":      at("count?db=shop"),
		"operations": at("operations"),
		"confirm": func(p *tab) {
			p.open("rejected")
			p.click(".groups button", evaluate[string](p, `document.querySelector(".groups button").textContent`))
			p.until("it asks", `document.querySelector("form[action$=operations]")`)
		},
		"operation": func(p *tab) {
			p.open("operations")
			p.click("tbody a", "")
			p.until("the order is shown", `document.querySelector("progress")`)
		},
	}
}

// order has messages sent again that fail again, so that it waits for a person.
func order(p *tab) {
	p.t.Helper()
	p.open("rejected?text=unknown")
	p.click(".groups button", "Send again…")
	p.has("h1", "Send 12 messages again?")
	p.click("button", "Send again")
	p.until("it waits for a person", `document.querySelector("#progress .state.paused")`)
}

// looks are ways to look at the page: each width, colour and language with each other.
var looks = []struct {
	name, scheme, language string
	width, height          int64
}{
	{"light", "light", "en", 1280, 900},
	{"dark, Chinese", "dark", "zh", 1280, 900},
	{"phone, Chinese", "light", "zh", 360, 740},
	{"phone, dark", "dark", "en", 360, 740},
}

// look has the tab show pages like this.
func (p *tab) look(scheme, language string, width, height int64) {
	p.t.Helper()
	p.do("look", chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
	p.open("login?lang=" + language)
}

// tooWide are the elements that a person has to scroll aside for.
const tooWide = `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
	.filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 200))`

// violation is what a rule of axe-core finds.
type violation struct {
	ID    string
	Help  string
	Nodes []struct {
		Target  []any
		HTML    string
		Failure string `json:"failureSummary"`
	}
}

// axe applies the rules to the page.
func (p *tab) axe(source string) []string {
	p.t.Helper()
	evaluate[bool](p, source+"; true")
	var found []string
	for _, v := range evaluate[[]violation](p, `axe.run(document, {resultTypes: ["violations"], preload: false}).then(r => r.violations)`) {
		for _, n := range v.Nodes {
			found = append(found, fmt.Sprintf("%s: %s\n%v %.300s\n%s", v.ID, v.Help, n.Target, n.HTML, n.Failure))
		}
	}
	return found
}

func TestNoRuleOfAccessibilityIsBroken(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(installed(t), "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	w, pages := everything(t, &admin.Options{})
	locked := newWorld(t, setup{console: admin.Options{OperatorToken: token}}, func(context.Context, *waybill.Message) error { return nil })
	p := newTab(t, w.url)
	order(p)
	stranger := newTab(t, locked.url)
	for _, look := range looks {
		t.Run(look.name, func(t *testing.T) {
			p.t, stranger.t = t, t
			check := func(p *tab, name string) {
				for _, found := range p.axe(string(axe)) {
					t.Errorf("%s: %s", name, found)
				}
				if wide := evaluate[[]string](p, tooWide); len(wide) > 0 {
					t.Errorf("%s: does not fit into %d pixels: %q", name, look.width, wide)
				}
				if got := evaluate[string](p, `document.documentElement.lang`); got != look.language {
					t.Errorf("%s: got the language %q, want %q", name, got, look.language)
				}
			}
			stranger.look(look.scheme, look.language, look.width, look.height)
			check(stranger, "login")
			p.look(look.scheme, look.language, look.width, look.height)
			for name, open := range pages {
				open(p)
				check(p, name)
			}
		})
	}
	p.t, stranger.t = t, t
}

func TestARuleOfAccessibilityThatIsBrokenIsFound(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(installed(t), "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{}, func(context.Context, *waybill.Message) error { return nil })
	p := newTab(t, w.url)
	p.open("messages")
	evaluate[bool](p, `document.querySelectorAll("label").forEach(e => e.remove()); document.querySelector("h1").style.color = "#e0e0e0"; true`)
	found := strings.Join(p.axe(string(axe)), "\n")
	for _, want := range []string{"label: ", "select-name: ", "color-contrast: "} {
		if !strings.Contains(found, want) {
			t.Errorf("got %q, want %q found", found, want)
		}
	}
}

// pressable numbers what can be pressed or typed into.
const pressable = `(() => {
	const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex], [onclick], [role=button], [role=link]")]
		.filter(e => e.type !== "hidden" && e.tabIndex >= 0 && e.getClientRects().length > 0);
	all.forEach((e, i) => e.dataset.number = i);
	return all.map(e => e.tagName + " " + (e.textContent.trim() || e.name));
})()`

// focused tells of what has the focus.
const focused = `(() => {
	const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
	return {
		Number: Number(e.dataset.number ?? -1), Name: e.tagName + " " + (e.textContent.trim() || e.name),
		Outlined: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
		InView: r.width > 0 && r.height > 0 && r.bottom > 0 && r.right > 0 && r.top < innerHeight && r.left < innerWidth,
	};
})()`

type focus struct {
	Number           int
	Name             string
	Outlined, InView bool
}

func TestWhateverCanBePressedIsReachedByTab(t *testing.T) {
	t.Parallel()
	w, pages := everything(t, &admin.Options{OperatorToken: token})
	p := newTab(t, w.url)
	p.open("login")
	check := func(t *testing.T, open func(p *tab)) {
		p.t = t
		open(p)
		p.until("what is to have the focus at first has it", `[...document.querySelectorAll("[autofocus]")].every(e => e === document.activeElement)`)
		names := evaluate[[]string](p, pressable)
		if len(names) < 4 {
			t.Fatalf("got %q, want more that can be pressed", names)
		}
		reached := make([]bool, len(names))
		for range 2*len(names) + 4 { // the focus may begin anywhere, and passes the page's end
			p.press(kb.Tab)
			at := evaluate[focus](p, focused)
			if at.Number < 0 {
				continue
			}
			if !at.Outlined || !at.InView {
				t.Errorf("%q has the focus, and nobody sees it: %+v", at.Name, at)
			}
			reached[at.Number] = true
			if !slices.Contains(reached, false) {
				return
			}
		}
		for i, name := range names {
			if !reached[i] {
				t.Errorf("Tab does not reach %q", name)
			}
		}
	}
	t.Run("login", func(t *testing.T) { check(t, func(p *tab) { p.open("login") }) })
	p.t = t
	p.open("login")
	p.press(token)
	p.press(kb.Enter)
	p.has("h1", "Overview")
	order(p)
	for name, open := range pages {
		t.Run(name, func(t *testing.T) { check(t, open) })
	}
	p.t = t
}

func TestTheKeyboardAloneSendsAMessageAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{}, func(_ context.Context, m *waybill.Message) error {
		return waybill.Permanent(errors.New("no"))
	})
	w.send(waybill.Message{Destination: "orders", Key: "a"}, waybill.Message{Destination: "orders", Key: "b"})
	w.rejected("orders", 2)
	p := newTab(t, w.url)
	p.open("")
	p.tabTo("Skip to the content")
	p.press(kb.Enter)
	p.until("the content has the focus", `document.activeElement.id === "main"`)
	p.open("")
	p.tabTo("Messages")
	p.press(kb.Enter)
	p.has("h1", "Messages in the outbox")
	p.tabTo("anypendingrejected") // the status
	p.press("rej")
	p.until("the status is chosen", `document.activeElement.value === "rejected"`)
	p.tabTo("Find")
	p.press(kb.Enter)
	p.until("they are found", `location.search.includes("status=rejected")`)
	for range 2 {
		p.tabTo("Select")
		p.press(" ")
		p.until("it is selected", `document.activeElement.checked`)
	}
	w.handled(func(context.Context, *waybill.Message) error { return nil })
	p.tabTo("Send the selected ones again…")
	p.press(" ")
	p.has("h1", "Send 2 messages again?")
	p.until("the answer has the focus", `document.activeElement.textContent === "Send again"`)
	p.press(kb.Enter)
	p.until("it is done", `document.querySelector("#progress .state")?.textContent === "done"`)
	w.rejected("orders", 0)
}

// tabTo presses Tab until what has the focus begins with a text, or has it as its label.
func (p *tab) tabTo(text string) {
	p.t.Helper()
	var passed []string
	for range 100 {
		p.press(kb.Tab)
		name := evaluate[string](p, `document.activeElement.getAttribute("aria-label") || document.activeElement.textContent.trim()`)
		if strings.HasPrefix(name, text) {
			return
		}
		passed = append(passed, name)
	}
	p.t.Fatalf("Tab does not come to %q, but to %q", text, passed)
}
