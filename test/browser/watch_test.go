package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What newTab watches for is found where it happens.
func TestTheWatchSeesWhatMayNotHappen(t *testing.T) {
	t.Parallel()
	installed(t)
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	const policy = "default-src 'none'; img-src *; script-src 'self' 'nonce-1'"
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>bad</title>
			<img src="` + elsewhere.URL + `/x.png"><img src="/missing.png">
			<p id="p" onclick="1" style="color: red">
			<a href="javascript:1">a</a>
			<script>window.ran = 1</script>
			<script nonce="1">console.warn("careful"); window.ran = 2; alert("here"); undefined.x;</script>`))
	}))
	t.Cleanup(here.Close)
	p := watched(t, here.URL+"/")
	p.open("")
	p.until("all is loaded", `document.readyState === "complete"`)
	seen := strings.Join(p.seen(), "\n")
	for _, want := range []string{
		"leaves the origin: " + elsewhere.URL + "/x.png", "/missing.png: 404", "console.warning", "careful", "a dialog: here",
		"an exception", "script-src", "style-src",
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("got\n%s\nwant %q in it", seen, want)
		}
	}
	bad := strings.Join(evaluate[[]string](p, harm), "\n")
	for _, want := range []string{"something ran", "onclick=1", "style=", "<img", "<script", "href=javascript:1"} {
		if !strings.Contains(bad, want) {
			t.Errorf("got\n%s\nwant %q in it", bad, want)
		}
	}
}
