package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// tab is a tab of Chromium, with cookies of its own, at a page below base.
type tab struct {
	t      *testing.T
	ctx    context.Context // chromedp's handle of the tab
	base   string          // with a slash at its end
	origin string

	mu       sync.Mutex
	wrong    []string // what may not happen and has
	requests int
}

// newTab opens a tab, and watches it until the test ends.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	p := watched(t, base)
	t.Cleanup(func() {
		for _, wrong := range p.seen() {
			t.Errorf("in the browser: %s", wrong)
		}
	})
	return p
}

// watched opens a tab of which seen tells what may not happen.
func watched(t *testing.T, base string) *tab {
	t.Helper()
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	p := &tab{t: t, base: base, origin: at.Scheme + "://" + at.Host}
	var cancel context.CancelFunc
	p.ctx, cancel = chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(p.watch))
	t.Cleanup(cancel)
	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return p
}

// seen is what may not happen and has, and what has come of the requests.
func (p *tab) seen() []string {
	p.t.Helper()
	evaluate[int](p, "1") // what came before its answer is known
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.requests == 0 {
		return append(p.wrong, "no request was seen")
	}
	return p.wrong
}

// watch takes an event of the tab.
func (p *tab) watch(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.mu.Lock()
		p.requests++
		p.mu.Unlock()
		// The pictures of Chromium's own fields are data: that goes nowhere, and pages may have none.
		if !strings.HasPrefix(e.Request.URL, p.origin+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			p.note("a request leaves the origin: %s", e.Request.URL)
		}
	case *network.EventWebSocketCreated:
		p.note("a web socket is opened: %s", e.URL)
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			p.note("%s: %d", e.Response.URL, e.Response.Status)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled { // as whoever leaves a page does to what it still loads
			p.note("%s cannot be loaded: %s %s", e.Type, e.ErrorText, e.BlockedReason)
		}
	case *runtime.EventConsoleAPICalled:
		p.note("console.%s: %s", e.Type, plain(e.Args))
	case *runtime.EventExceptionThrown:
		p.note("an exception: %v", e.ExceptionDetails)
	case *log.EventEntryAdded: // also what breaks the Content-Security-Policy
		p.note("console: %s: %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *page.EventJavascriptDialogOpening:
		p.note("a dialog: %s", e.Message)
		go func() { _, _ = chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{}) }()
	case *page.EventWindowOpen:
		p.note("a window is opened: %s", e.URL)
	}
}

func (p *tab) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

func plain(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// do has the tab do something, and fails the test where it cannot.
func (p *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience.Limit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// open goes to a page by its path below base, as openAt does.
func (p *tab) open(path string) {
	p.t.Helper()
	p.openAt(p.base + path)
}

// openAt goes to a page, and waits until that has counted: it loads itself again after "Counting…".
func (p *tab) openAt(address string) {
	p.t.Helper()
	p.do("open "+address, chromedp.Navigate(address))
	p.until("the page has counted", `document.querySelector("[data-events]")?.dataset.shape !== "counting"`)
}

// evaluate evaluates JavaScript; the page's Content-Security-Policy does not hold for it. A
// promise is waited for.
func evaluate[T any](p *tab, js string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience.Limit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%.200s: %v", js, err)
	}
	return value
}

// until waits until JavaScript evaluates to true, in whichever page the tab comes to.
func (p *tab) until(what, js string) {
	p.t.Helper()
	p.watchUntil(what, js, func() {})
}

// watchUntil is until that calls also before each look.
func (p *tab) watchUntil(what, js string, also func()) {
	p.t.Helper()
	var last string
	patience.Until(p.t, what, func() bool {
		also()
		ctx, cancel := context.WithTimeout(p.ctx, patience.Limit)
		defer cancel()
		// Between two pages there is none to ask.
		look, err := chromedp.Run(ctx, chromedp.Evaluate[struct {
			So   bool
			Text string
		}](`({So: !!(`+js+`), Text: document.body ? document.body.innerText : ""})`))
		if last = look.Text; err != nil {
			last = err.Error()
		}
		return err == nil && look.So
	}, func() any { return last })
}

// text is what a person reads in the first element of a CSS selector; "" where there is none.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, fmt.Sprintf(`(document.querySelector(%s)?.innerText ?? "").trim()`, plain(selector)))
}

// has waits until the page has a text in an element of a CSS selector.
func (p *tab) has(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s says %q", selector, text),
		fmt.Sprintf(`[...document.querySelectorAll(%s)].some(e => e.textContent.includes(%s))`, plain(selector), plain(text)))
}

// click presses the mouse on the first element of a CSS selector whose text begins with what
// is given, once it is there.
func (p *tab) click(selector, text string) {
	p.t.Helper()
	element := fmt.Sprintf(`[...document.querySelectorAll(%s)].find(e => e.textContent.trim().startsWith(%s))`, plain(selector), plain(text))
	p.until(fmt.Sprintf("there is %s %q", selector, text), element)
	at := evaluate[struct {
		X, Y float64
		Free bool
	}](p, fmt.Sprintf(`(() => {
		const e = %s;
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getClientRects()[0], X = r.x + r.width / 2, Y = r.y + r.height / 2;
		return {X, Y, Free: e.contains(document.elementFromPoint(X, Y))};
	})()`, element))
	if !at.Free {
		p.t.Fatalf("%s %q is covered by something", selector, text)
	}
	p.do("click "+text, chromedp.MouseClickXY(at.X, at.Y))
}

// fill types into the field of a label.
func (p *tab) fill(label, text string) {
	p.t.Helper()
	p.click("label", label)
	p.until("the field has the focus", `["INPUT", "SELECT"].includes(document.activeElement.tagName)`)
	p.do("type "+text, chromedp.KeyEvent(text))
}

// press presses keys, such as kb.Tab.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.do("press "+keys, chromedp.KeyEvent(keys))
}
