package address

import (
	"net/url"
	"strings"
)

const hidden = "xxxxx"

// Redact returns an address of any kind without its password, for logs and errors.
// It also takes what is no valid URL, and rather hides too much than too little.
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
		name, _, hasValue := strings.Cut(p, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		name = strings.ToLower(name)
		for _, secret := range []string{"pass", "pwd", "secret", "token"} {
			if hasValue && strings.Contains(name, secret) {
				parameters[i] = p[:strings.IndexByte(p, '=')+1] + hidden
			}
		}
	}
	return before + "?" + strings.Join(parameters, "&")
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
	redacted := strings.Split(redactParameters("?" + query)[1:], "&")
	for i, p := range strings.Split(query, "&") {
		if redacted[i] != p {
			_, value, _ := strings.Cut(p, "=")
			add(value, url.QueryUnescape)
		}
	}
	return found
}
