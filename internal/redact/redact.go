// Package redact keeps passwords out of what is shown: Address is for the addresses of
// databases and brokers, also for those that are wrong, Text for what is said about one,
// such as a driver's error, and Message for any text in which an address may stand.
package redact

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Hidden stands where something is hidden.
const Hidden = "xxxxx"

// Address returns an address of any kind without what is a secret in it, or may be one
// where the address is wrong. It hides too much rather than too little.
func Address(addr string) string {
	shown, _ := split(addr)
	return shown
}

// Text returns what is said about an address without the secrets of that.
func Text(addr, text string) string {
	_, secrets := split(addr)
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, Hidden)
	}
	return text
}

// Error returns err, or one with the same chain whose text is without the secrets of an
// address.
func Error(addr string, err error) error {
	if err == nil {
		return nil
	}
	text := Text(addr, err.Error())
	if text == err.Error() {
		return err
	}
	return &redacted{text, err}
}

// redacted is an error whose own text must not be shown.
type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// word is what may be an address in a text: it has a scheme, or an '@' behind a ':'.
var word = regexp.MustCompile("[^\\s\"'`]*(?:://|:[^\\s\"'`]*@)[^\\s\"'`]*")

// Message returns a text with each address in it redacted.
func Message(text string) string {
	if !strings.Contains(text, ":") {
		return text
	}
	return word.ReplaceAllStringFunc(text, func(addr string) string {
		bare := strings.TrimRight(addr, ":;,.()")
		return Address(bare) + addr[len(bare):]
	})
}

// split returns an address without its secrets, and these.
func split(addr string) (shown string, secrets []string) {
	scheme, rest, isURL := strings.Cut(addr, "://")
	if isURL {
		scheme += "://"
	} else if scheme, rest, isURL = strings.Cut(addr, ":"); isURL {
		scheme, isURL = scheme+":", false
	} else {
		scheme, rest = "", addr
	}
	s := &splitter{}
	s.shown.WriteString(scheme)
	rest = s.user(scheme, rest, isURL)
	before, query, hasQuery := strings.Cut(rest, "?")
	if isURL {
		var fragment string
		before, fragment, _ = strings.Cut(before, "#")
		if fragment != "" {
			fragment += "?" + query
			query, hasQuery = "", false
		}
		s.hosts(before)
		if fragment != "" {
			s.shown.WriteString("#")
			s.hide(strings.TrimSuffix(fragment, "?"))
		}
	} else {
		s.words(before)
	}
	if hasQuery {
		s.shown.WriteString("?")
		s.parameters(query)
	}
	// The longest first: one may be a part of another.
	slices.SortFunc(s.secrets, func(a, b string) int { return len(b) - len(a) })
	return s.shown.String(), s.secrets
}

// splitter takes an address apart.
type splitter struct {
	hasUser bool
	shown   strings.Builder
	secrets []string
}

// hide hides a part of the address.
func (s *splitter) hide(secret string) {
	s.shown.WriteString(Hidden)
	s.keep(secret)
	// A parser may quote a piece of it.
	for _, piece := range strings.FieldsFunc(secret, func(r rune) bool { return strings.ContainsRune(":/?#@&=,[] ", r) }) {
		if len(piece) >= 3 {
			s.keep(piece)
		}
	}
}

// keep adds a secret, as it is written and decoded.
func (s *splitter) keep(secret string) {
	if secret == "" || secret == Hidden {
		return
	}
	for _, unescape := range []func(string) (string, error){url.PathUnescape, url.QueryUnescape} {
		if decoded, err := unescape(secret); err == nil && decoded != secret && decoded != "" {
			s.secrets = append(s.secrets, decoded)
		}
	}
	s.secrets = append(s.secrets, secret)
}

// user takes the user's part, and returns what comes behind it. The last '@' ends it even
// where the password holds one too, and whatever a name has not in it ends the name.
func (s *splitter) user(scheme, text string, isURL bool) (rest string) {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text
	}
	user, rest := text[:at], text[at:]
	s.hasUser = true
	end := strings.IndexAny(user, ":/?#[]\\ ")
	isPath := !isURL && (scheme == "sqlite:" || scheme == "embedded:")
	switch {
	case isPath && !strings.Contains(user, ":"):
		s.shown.WriteString(user) // a file's name
	case end == 0 && !isURL:
		s.hide(user) // as of postgres:/user:password@host
	case end >= 0:
		s.shown.WriteString(user[:end] + ":")
		s.hide(user[end+1:])
	case strings.HasSuffix(scheme, "nats://") || !isURL:
		s.hide(user) // a token; of other forms nobody knows
	default:
		s.shown.WriteString(user)
	}
	s.shown.WriteString("@")
	return rest[1:]
}

// hideQuietly hides what stands for nothing that is shown.
func (s *splitter) hideQuietly(secret string) {
	mark := s.shown.String()
	s.hide(secret)
	s.shown.Reset()
	s.shown.WriteString(mark)
}

var port = regexp.MustCompile(`^:[0-9]*$`)

// hosts takes the hosts and the path. Where a port is no number, it may be a password of
// an address that has no '@', and what follows a part of it.
func (s *splitter) hosts(text string) {
	hosts, path := text, ""
	if slash := strings.IndexByte(text, '/'); slash >= 0 {
		hosts, path = text[:slash], text[slash:]
	}
	for i, host := range strings.Split(hosts, ",") {
		if i > 0 {
			s.shown.WriteString(",")
		}
		colon := strings.IndexByte(host[strings.LastIndexByte(host, ']')+1:], ':')
		if colon < 0 {
			s.shown.WriteString(host)
			continue
		}
		colon += strings.LastIndexByte(host, ']') + 1
		s.shown.WriteString(host[:colon])
		if port.MatchString(host[colon:]) {
			s.shown.WriteString(host[colon:])
			continue
		}
		s.shown.WriteString(":" + Hidden)
		if !s.hasUser {
			s.hideQuietly(host[colon+1:])
			s.hideQuietly(path)
		}
		path = ""
	}
	s.shown.WriteString(path)
}

var secretWord = regexp.MustCompile(`(?i)[a-z_]*(?:pass|pwd|secret|token)[a-z_]*\s*=\s*`)

// words takes what is no URL, such as host=… password=….
func (s *splitter) words(text string) {
	at := secretWord.FindStringIndex(text)
	if at == nil {
		s.shown.WriteString(text)
		return
	}
	s.shown.WriteString(text[:at[1]])
	s.hide(text[at[1]:])
}

// parameters takes what stands behind the '?': the values of what is called like a secret,
// and what has no name, are hidden.
func (s *splitter) parameters(query string) {
	for i, p := range strings.Split(query, "&") {
		if i > 0 {
			s.shown.WriteString("&")
		}
		switch at := secretAt(p); {
		case at >= 0:
			s.shown.WriteString(p[:at])
			s.hide(p[at:])
		case !strings.Contains(p, "=") && p != "":
			s.hide(p)
		default:
			s.shown.WriteString(p)
		}
	}
}

// secretAt is where a parameter's value begins, if its name is a secret's; -1 if not.
// Where there is another '?' a name may begin after it.
func secretAt(parameter string) int {
	for start := 0; ; {
		rest := parameter[start:]
		name, _, hasValue := strings.Cut(rest, "=")
		if hasValue && isSecret(name) {
			return start + len(name) + 1
		}
		mark := strings.IndexByte(rest, '?')
		if mark < 0 {
			return -1
		}
		start += mark + 1
	}
}

func isSecret(name string) bool {
	if decoded, err := url.QueryUnescape(name); err == nil {
		name = decoded
	}
	name = strings.ToLower(name)
	for _, secret := range []string{"pass", "pwd", "secret", "token", "apikey", "api_key"} {
		if strings.Contains(name, secret) {
			return true
		}
	}
	return false
}
