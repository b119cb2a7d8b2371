package address

import (
	"net/url"
	"strings"
)

const hidden = "xxxxx"

// Redact returns an address of any kind with "xxxxx" for its password, and for each
// parameter that is called like a secret, for logs and errors. It also takes what is no
// valid URL, and hides too much rather than too little.
func Redact(addr string) string {
	scheme, rest, found := strings.Cut(addr, "://")
	if !found {
		return redactParameters(addr)
	}
	// The last '@' ends the user's part even where the password holds one too.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if user, _, hasPassword := strings.Cut(rest[:at], ":"); hasPassword {
			rest = user + ":" + hidden + rest[at:]
		}
	}
	return scheme + "://" + redactParameters(rest)
}

// redactParameters hides the values of parameters that are called like secrets.
func redactParameters(s string) string {
	before, query, found := strings.Cut(s, "?")
	if !found {
		return s
	}
	parameters := strings.Split(query, "&")
	for i, p := range parameters {
		if at := secretAt(p); at >= 0 {
			parameters[i] = p[:at] + hidden
		}
	}
	return before + "?" + strings.Join(parameters, "&")
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
	for _, secret := range []string{"pass", "pwd", "secret", "token"} {
		if strings.Contains(name, secret) {
			return true
		}
	}
	return false
}

// scrub returns the error's text without any password of addr.
func scrub(addr string, err error) string {
	text := err.Error()
	for _, secret := range secrets(addr) {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}

// secrets are the passwords in addr, as written and decoded.
func secrets(addr string) []string {
	var found []string
	add := func(s string, unescape func(string) (string, error)) {
		if s == "" {
			return
		}
		found = append(found, s)
		if decoded, err := unescape(s); err == nil && decoded != s {
			found = append(found, decoded)
		}
	}
	_, rest, _ := strings.Cut(addr, "://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		_, password, _ := strings.Cut(rest[:at], ":")
		add(password, url.PathUnescape)
	}
	_, query, _ := strings.Cut(addr, "?")
	for p := range strings.SplitSeq(query, "&") {
		if at := secretAt(p); at >= 0 {
			add(p[at:], url.QueryUnescape)
		}
	}
	return found
}
