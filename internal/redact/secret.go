package redact

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	// secretName is in the names of secrets, of which case and hyphens do not matter.
	secretName = regexp.MustCompile(`pass|pwd|secret|token|credential|jaas|jwt|signature|authorization|seed$` +
		`|(?:api|access|private|shared|account|encryption|n)key$|^(?:key|pw|psw|sig)$`)
	// harmlessName is of what only leads to a secret, or tells of it.
	harmlessName = regexp.MustCompile(`(?:file|path|dir|type|keyname|policy|endpoint|url)$|^bypass|^passive`)
	// assignment is a name and what separates it from its value.
	assignment = regexp.MustCompile(`([\pL\pN_.%-]+)(?:["'` + "`" + `\]]?\s*)=\s*`)
	// fileName is the value of a parameter such as key=/etc/client.pem.
	fileName = regexp.MustCompile(`(?i)^(?:\.{0,2}/[\w./-]*|[\w./-]*)\.(?:pem|key|crt|der|p12|pfx|jks)$`)
)

// isSecret says whether a name is that of a secret.
func isSecret(name string) bool {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(decode(name)))
	return secretName.MatchString(name) && !harmlessName.MatchString(name)
}

// secretIn is where the name and where the value of a text's first secret begin, as in
// password=…; -1 where there is none.
func secretIn(text string) (name, value int) {
	if strings.IndexByte(text, '=') < 0 {
		return -1, -1
	}
	for _, m := range assignment.FindAllStringSubmatchIndex(text, -1) {
		if isSecret(text[m[2]:m[3]]) && !isFile(text[m[2]:m[3]], text[m[1]:]) {
			return m[2], m[1]
		}
	}
	return -1, -1
}

// isFile says whether a parameter is that of a key's file.
func isFile(name, value string) bool {
	return strings.EqualFold(name, "key") && fileName.MatchString(value[:wordEnd(value, "&; ")])
}

// decode returns what a percent-encoded text stands for, as often as it is encoded. What is
// encoded wrongly stays as it is.
func decode(text string) string {
	for range 3 {
		if strings.IndexByte(text, '%') < 0 {
			break
		}
		before := text
		text = percent.ReplaceAllStringFunc(text, func(code string) string {
			b, _ := strconv.ParseUint(code[1:], 16, 8) // the pattern is that of a number
			return string([]byte{byte(b)})
		})
		if text == before {
			break
		}
	}
	return text
}

var percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// hidesSomething says whether a percent-encoded text stands for one with a secret.
func hidesSomething(text string) bool {
	decoded := decode(text)
	if decoded == text {
		return false
	}
	_, value := secretIn(decoded)
	return value >= 0 || strings.Contains(decoded, "@")
}

// forms returns the forms in which a secret may be repeated: as it is, encoded, decoded,
// quoted, and each piece of it that a parser may take for a host or a port.
func forms(secret string) []string {
	secret = strings.TrimSpace(secret)
	all := []string{secret, decode(secret), url.QueryEscape(secret), url.PathEscape(secret)}
	if decoded, err := url.QueryUnescape(secret); err == nil {
		all = append(all, decoded)
	}
	quoted := strconv.Quote(secret)
	all = append(all, quoted[1:len(quoted)-1])
	for _, form := range all[:2:2] {
		all = append(all, strings.FieldsFunc(form, func(r rune) bool { return strings.ContainsRune(":/?#@&=;,!|*()[]{}<>'\"`\\ \t\r\n", r) })...)
	}
	return all
}
