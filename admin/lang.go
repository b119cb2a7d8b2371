package admin

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/waybill-go/waybill/internal/survey"
)

// languages are those of the pages; the first one is that of the texts in the code.
var languages = []string{"en", "zh"}

//go:embed pages/zh.json
var chinese []byte

// catalogs have, by language, what is said for an English text or format.
var catalogs = map[string]map[string]string{"zh": catalog(chinese)}

// catalog reads one that is part of the program: it is whole.
func catalog(text []byte) map[string]string {
	all := map[string]string{}
	if err := json.Unmarshal(text, &all); err != nil {
		panic(err)
	}
	return all
}

// t says a text, or a format with arguments, in the page's language.
func (v *view) t(format string, args ...any) string {
	if said, ok := catalogs[v.Language][format]; ok {
		format = said
	}
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// say says a sentence, and those that are part of it, in the page's language.
func (v *view) say(s survey.Sentence) string {
	args := make([]any, len(s.Args))
	for i, a := range s.Args {
		if part, is := a.(survey.Sentence); is {
			a = v.say(part)
		}
		args[i] = a
	}
	return v.t(s.Format, args...)
}

const languageCookie = "waybill_lang"

// languageOf is the language that a request asks for: by ?lang=, which is remembered, or by
// what its browser prefers.
func languageOf(w http.ResponseWriter, r *http.Request) string {
	if l := known(r.URL.Query().Get("lang")); l != "" {
		http.SetCookie(w, &http.Cookie{Name: languageCookie, Value: l, SameSite: http.SameSiteLaxMode, HttpOnly: true, Secure: r.TLS != nil, MaxAge: 365 * 24 * 3600}) //nolint:gosec // it is no secret
		return l
	}
	if cookie, err := r.Cookie(languageCookie); err == nil && known(cookie.Value) != "" {
		return known(cookie.Value)
	}
	for preferred := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(preferred), ";")
		if l := known(tag); l != "" {
			return l
		}
	}
	return languages[0]
}

// known is the language of a tag, such as "zh-CN"; "" for one that the pages are not in.
func known(tag string) string {
	primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
	for _, l := range languages {
		if l == primary {
			return l
		}
	}
	return ""
}
