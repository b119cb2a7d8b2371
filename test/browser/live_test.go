package browser

import (
	"context"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

// seeing notes what the page shows from now on, by the keys of its rates. It is gone with the
// page.
const seeing = `(() => {
	window.lines = {}, window.rates = {};
	new MutationObserver(changes => {
		for (const {target} of changes) {
			const {spark, live} = target.dataset ?? {};
			if (spark) (lines[spark] ??= new Set()).add(target.getAttribute("d"));
			if (live) (rates[live] ??= new Set()).add(target.textContent);
		}
	}).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["d"]});
	return true;
})()`

func TestRatesAndTheirLinesMoveWhileMessagesFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{}, func(context.Context, *waybill.Message) error { return nil })
	p := newTab(t, w.url)
	p.open("")
	evaluate[bool](p, seeing)
	const keys = `["d0.published", "d0.confirmed", "d1.handled"]`
	p.watchUntil("the rates of relay and inbox move", keys+`.every(k => lines[k]?.size >= 3 && [...rates[k] ?? []].some(r => r !== "0"))`, func() {
		w.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"})
	})
	p.until("they come to rest", keys+`.every(k => document.querySelector("[data-live='" + k + "']").textContent === "0")`)
}
