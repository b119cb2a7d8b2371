package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

// evil would run, or load something, wherever a page took it for more than text.
const evil = `<script>window.ran=1</script>"'><img src=//evil.example/x onerror=window.ran=1>` +
	`</pre></title></textarea></script><svg onload=window.ran=1>" autofocus onfocus=window.ran=1 x="` +
	`<iframe src=javascript:parent.ran=1></iframe><base href=//evil.example/><link rel=stylesheet href=//evil.example/x.css>` +
	`{{.Token}}${window.ran=1}` + "\u202e\u2028"

// evilNames are names of destinations and services, which may have no blanks and no ">", "?" and the like.
var evilNames = []string{
	`"onmouseover="window.ran=1"x="`,
	`javascript:window.ran=1`,
	`//evil.example/&lt;svg/onload=window.ran=1`,
	`'</tr/<img/src="//evil.example/x"/onerror="window.ran=1"`,
	`../../../&amp;"/`,
	`{{.Token}}${window.ran=1}`,
}

// harm is what of a page is more than text, and may not be: what has run, and what would.
const harm = `(() => {
	const bad = [];
	if (window.ran !== undefined) bad.push("something ran");
	for (const e of document.querySelectorAll("*")) {
		if (["IMG", "IFRAME", "OBJECT", "EMBED", "BASE", "STYLE", "TEMPLATE", "FRAME", "MATH"].includes(e.tagName.toUpperCase())) bad.push(e.outerHTML);
		if (e.tagName === "SCRIPT" && !e.src) bad.push(e.outerHTML);
		for (const a of e.attributes) {
			if (a.name.startsWith("on") || a.name === "style") bad.push(a.name + "=" + a.value);
			if (["href", "src", "action", "formaction", "data", "srcset", "xlink:href"].includes(a.name)) {
				const to = new URL(a.value, document.baseURI);
				if (to.origin !== location.origin || !to.pathname.startsWith("/ops/waybill/")) bad.push(a.name + "=" + a.value);
			}
		}
	}
	return bad;
})()`

// links are where a page's links and forms lead.
const links = `[...document.querySelectorAll("a[href], form[method=get]")].map(e => new URL(e.getAttribute("href") ?? "", location.href).href)`

func TestHostileTextIsText(t *testing.T) {
	t.Parallel()
	for _, name := range evilNames {
		if err := waybill.CheckDestination(name); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	kept := evilNames[0]
	w := newWorld(t, setup{
		destinations: evilNames, accepted: []string{kept}, producer: evilNames[1], consumer: evilNames[3], name: "shop " + evil, about: evil,
		console: admin.Options{Authenticate: func(*http.Request) (admin.User, bool) { return admin.User{Name: evil, Role: admin.Operator}, true }},
	}, func(context.Context, *waybill.Message) error { return waybill.Permanent(errors.New(evil)) })
	ids := make([]waybill.ID, len(evilNames))
	for i, name := range evilNames {
		ids[i] = waybill.NewID()
		w.send(waybill.Message{
			ID: ids[i], Destination: name, Key: strings.ToValidUTF8(evil[:200], ""), Body: []byte(evil),
			Headers: map[string]string{"traceparent": evil, "evil": evil, "content-type": "text/html"},
		}, waybill.Message{Destination: name, Topic: true, Key: "nobody takes it", Body: []byte(`{"` + "</script>" + `":"<svg onload=window.ran=1>"}`)})
		if name != kept {
			w.rejected(name, 1)
		}
	}
	w.kept(1)
	if err := w.queue.Pause(patience.Context(t), store.Pause{Destination: evilNames[0], Topic: true, By: evil[:200], Reason: evil}, 0); err != nil {
		t.Fatal(err)
	}

	p := newTab(t, w.url)
	harmless := func(page string) {
		t.Helper()
		if bad := evaluate[[]string](p, harm); len(bad) > 0 {
			t.Errorf("%s: %q", page, bad)
		}
	}
	database := "?db=" + url.QueryEscape("shop "+evil)
	p.open("messages/" + ids[1].String() + database)
	for _, selector := range []string{"pre", "table", ".timeline", ".facts"} {
		if text := evaluate[string](p, fmt.Sprintf(`document.querySelector(%q).textContent`, selector)); !strings.Contains(text, evil[:150]) {
			t.Errorf("%s: got %q, want the text as it is", selector, text)
		}
	}
	ask := url.QueryEscape(evil)
	next := []string{
		"", "?q=" + ask, "login?lang=" + ask, "?lang=" + ask, "operations", "consumers?db=shipping", "pauses" + database, "pauses" + database + "&destination=" + ask,
		"messages" + database, "messages?key=" + ask + "&destination=" + ask + "&text=" + ask + "&order=" + ask, "rejected?destination=" + ask + "&consumer=" + ask + "&text=" + ask,
	}
	for i, path := range next {
		next[i] = w.url + path
	}
	for done := 0; done < len(next); done++ {
		p.openAt(next[done])
		harmless(next[done])
		for _, link := range evaluate[[]string](p, links) {
			at, err := url.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			at.Fragment = ""
			if query := at.Query(); query.Has("lang") {
				continue // the same in another language
			}
			if !slices.Contains(next, at.String()) {
				next = append(next, at.String())
			}
		}
		if len(next) > 150 {
			t.Fatalf("there is no end of pages: %q", next)
		}
	}
	if len(next) < 25 {
		t.Errorf("got %d pages, want one for each message at least", len(next))
	}

	p.open("rejected" + database)
	p.click("form.whole button", "Send all of these again…")
	p.has("h1", "Send 5 messages again?")
	harmless("what is asked")
	p.click("button", "Send again")
	p.has("h1", "Sending 5 messages again")
	p.until("they fail again, and it waits", `document.querySelector("#progress .state.paused")`)
	harmless("the order")
	p.open("operations")
	harmless("the orders")
}
