package redact

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	// startsAddress is a text that is one address as a whole, or a wrong one.
	startsAddress = regexp.MustCompile(`^(?:` + urlHead.String()[1:] + `|[^\s"':{\[=]*:[^\s"][\s\S]*@|:/?/?[^\s]*@|\S*@[a-z0-9]+\(|[^:]*://[\s\S]*@)`)
	// startsPair is how host=… password=… begins.
	startsPair = regexp.MustCompile(`^\s*[A-Za-z_][\w. -]*=`)
	// startsURL is a URL in a text.
	startsURL = regexp.MustCompile(`^(?:(?i:` + wrapper + `[a-z][a-z0-9+.-]*))?://`)
	// network is what follows the password in user:password@tcp(host)/database.
	network = regexp.MustCompile(`@[a-z0-9]+\(`)
	// spaced is the same where there are spaces in the password.
	spaced = regexp.MustCompile(`^[\pL\pN_.%+-]*:[^\s\n][^\n]*@[a-z0-9]+\(`)
	// harmlessWord is a time, a host with its port, or what a sentence begins with.
	harmlessWord = regexp.MustCompile(`^[\pL\pN_.-]*(?::[0-9]+)*:?$`)
	// startsValue is a name with its value behind it.
	startsValue = regexp.MustCompile("^([\\pL\\pN_.%-]+)[\"'`\\]]?\\s*=\\s*")
	// startsTold is the same with a colon, as in YAML.
	startsTold = regexp.MustCompile(`^([\pL\pN_.-]+):[ \t]*`)
	// toldValue is one word that ends a line.
	toldValue = regexp.MustCompile(`^\S+[ \t]*$`)
	// aName is one, and not a text with a name in it.
	aName = regexp.MustCompile(`^[\pL\pN_.% -]{1,60}$`)
	// separator stands between a name in quotes and its value.
	separator = regexp.MustCompile(`^\s*[:=]\s*`)
	// nextName is what ends a value that has no quotes.
	nextName = regexp.MustCompile(`[\s&;,]+[A-Za-z_.-]+(?: [A-Za-z]+)?\s*=`)
	// afterWord is what may follow a word or a text in quotes.
	afterWord = regexp.MustCompile(`^(?:$|[^\pL\pN_@%])`)
	// anotherUser is a word with an '@' behind what may be a port, or the digits that a
	// password begins with.
	anotherUser = regexp.MustCompile(`^[ \t]+\S*@`)
)

// Message returns a text with each address in it redacted, and the values of what is called
// like a secret. An address ends with its line. What an address hides is hidden in the rest of
// the text, too: parsers repeat pieces of it.
func Message(text string) string {
	if !strings.ContainsAny(text, ":=@%") {
		return text
	}
	s := &scanner{}
	shown := s.text(text)
	return without(s.kept, shown)
}

// scanner finds what is to be hidden in a text, and keeps it.
type scanner struct{ splitter }

func (s *scanner) text(text string) string {
	var shown strings.Builder
	for line := range strings.SplitAfterSeq(text, "\n") {
		for i := 0; i < len(line); {
			n, word := 0, ""
			if i == 0 || !inWord(line[i-1]) {
				n, word = s.first(line, i)
			}
			if n == 0 {
				n, word = 1, line[i:i+1]
			}
			shown.WriteString(word)
			i += n
		}
	}
	return shown.String()
}

func (s *scanner) address(addr string) string {
	shown, secrets := split(addr)
	s.kept = append(s.kept, secrets...)
	return shown
}

// argument is Argument for a part of the text.
func (s *scanner) argument(text string) string {
	if isAddress(text) {
		return s.address(text)
	}
	return s.text(text)
}

// isAddress says whether a text is one address as a whole, or meant to be one.
func isAddress(text string) bool {
	_, value := secretIn(text)
	return startsAddress.MatchString(text) || value >= 0 && startsPair.MatchString(text)
}

func inWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= 0x80 || strings.IndexByte("_.%+-", b) >= 0
}

// first is what begins at i of a line: how long it is, and what is shown of it; 0 where it is
// nothing that may have a secret in it.
func (s *scanner) first(line string, i int) (n int, shown string) {
	rest := strings.TrimRight(line[i:], "\r\n")
	if rest == "" || rest[0] == ':' && i > 0 && strings.IndexByte(" \t(", line[i-1]) < 0 && !strings.HasPrefix(rest, "://") || strings.IndexByte(" \t([{<,;=|", rest[0]) >= 0 {
		return 0, ""
	}
	if n, shown = s.quoted(rest); n > 0 {
		return n, shown
	}
	if n, shown = s.link(rest); n > 0 {
		return n, shown
	}
	if n, shown = s.value(rest); n > 0 {
		return n, shown
	}
	if n, shown = s.told(rest, strings.Trim(line[:i], " \t-{,") == ""); n > 0 {
		return n, shown
	}
	if n, shown = s.login(rest); n > 0 {
		return n, shown
	}
	return s.encoded(rest)
}

// quoted is a text in quotes, and where that is a secret's name what follows.
func (s *scanner) quoted(rest string) (int, string) {
	n := quoteEnd(rest)
	if n == 0 {
		return 0, ""
	}
	inner := rest[1 : n-1]
	bare, err := strconv.Unquote(rest[:n])
	if rest[0] != '"' || err != nil {
		bare = inner
	}
	if sep := separator.FindString(rest[n:]); sep != "" && namesSecret(bare) && len(rest) > n+len(sep) {
		length, shown := s.hideValue(rest[n+len(sep):])
		return n + len(sep) + length, rest[:n] + sep + shown
	}
	switch shown := s.argument(bare); {
	case shown == bare:
		return n, rest[:n]
	case rest[0] == '"' && err == nil:
		return n, strconv.Quote(shown)
	default:
		return n, rest[:1] + shown + rest[:1]
	}
}

// namesSecret says whether a text is the name of a secret. In a text, key is a message's.
func namesSecret(text string) bool {
	return aName.MatchString(text) && !strings.EqualFold(text, "key") && isSecret(text)
}

// quoteEnd is where a text in quotes ends, 0 where it has none or does not end.
func quoteEnd(text string) int {
	if text == "" || strings.IndexByte("\"'`", text[0]) < 0 {
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && text[0] != '`':
			i++
		case text[i] == text[0] && afterWord.MatchString(text[i+1:]):
			return i + 1
		}
	}
	return 0
}

// hideValue hides the value that a text begins with.
func (s *scanner) hideValue(text string) (int, string) {
	n := valueEnd(text)
	s.keep(strings.Trim(text[:n], "\"'`"))
	if n > 1 && text[0] == '"' && text[n-1] == '"' {
		return n, `"` + Hidden + `"` // such as in JSON
	}
	if n == 0 {
		return 0, ""
	}
	return n, Hidden
}

// valueEnd is where the value that a text begins with ends: with its quotes, or where another
// name begins.
func valueEnd(text string) int {
	if strings.HasPrefix(text, Hidden) && afterWord.MatchString(text[len(Hidden):]) {
		return len(Hidden)
	}
	if n := quoteEnd(text); n > 0 && (n == len(text) || strings.IndexByte(" \t\r\n,;&:)]}\"'`", text[n]) >= 0) {
		return n
	}
	if m := nextName.FindStringIndex(text); m != nil {
		return m[0]
	}
	return len(text)
}

// link is a URL. It ends with its word, if that is one; what is left open by it, such as a
// password with a space, ends at the last '@', or nobody knows where.
func (s *scanner) link(rest string) (int, string) {
	if !startsURL.MatchString(rest) {
		return 0, ""
	}
	n := wordEnd(rest, " \t\r\"'`")
	word := strings.TrimRight(rest[:n], ":;,.()]}")
	after := strings.TrimLeft(rest[n:], "\"'`")
	ends := allComplete(word) && afterWord.MatchString(after) && !(strings.LastIndexByte(word, '@') < 0 && anotherUser.MatchString(rest[n:]))
	if ends {
		return len(word), s.address(word)
	}
	end := len(rest)
	if at := strings.LastIndexByte(rest, '@'); at >= n {
		end = at + wordEnd(rest[at:], " \t\r\"'`")
		end = len(strings.TrimRight(rest[:end], ":;,.()]}"))
	}
	return end, s.address(rest[:end])
}

// wordEnd is where the first of some characters is, or the end.
func wordEnd(text, characters string) int {
	if n := strings.IndexAny(text, characters); n >= 0 {
		return n
	}
	return len(text)
}

// value is the name of a secret with '=' and its value.
func (s *scanner) value(rest string) (int, string) {
	m := startsValue.FindStringSubmatchIndex(rest)
	if m == nil || !namesSecret(rest[m[2]:m[3]]) {
		return 0, ""
	}
	n, shown := s.hideValue(rest[m[1]:])
	return m[1] + n, rest[:m[1]] + shown
}

// told is the same with a colon, if it does not only tell of one as in "(using password: YES)".
// begins says that the line does with it.
func (s *scanner) told(rest string, begins bool) (int, string) {
	m := startsTold.FindStringSubmatchIndex(rest)
	if m == nil || m[1] == len(rest) || !namesSecret(rest[m[2]:m[3]]) {
		return 0, ""
	}
	switch value := rest[m[1]:]; {
	case strings.EqualFold(rest[m[2]:m[3]], "authorization"):
		return len(rest), rest[:m[1]] + Hidden
	case quoteEnd(value) > 0:
		n, shown := s.hideValue(value)
		return m[1] + n, rest[:m[1]] + shown
	case m[3]+1 == m[1] || begins && toldValue.MatchString(value):
		n := wordEnd(value, " \t\r,}")
		s.keep(value[:n])
		return m[1] + n, rest[:m[1]] + Hidden
	}
	return 0, ""
}

// login is user:password@host, or anything before the network of MySQL's driver.
func (s *scanner) login(rest string) (int, string) {
	n := wordEnd(rest, " \t\r")
	word := rest[:n]
	if !harmlessWord.MatchString(word) {
		if m := spaced.FindString(rest); len(m) > n {
			n = len(m) + wordEnd(rest[len(m):], " \t\r\"'`")
			word = rest[:n]
		}
	}
	colon, at := strings.IndexByte(word, ':'), strings.LastIndexByte(word, '@')
	if (colon < 0 || colon > at) && !network.MatchString(word) {
		return 0, ""
	}
	word = strings.TrimRight(word, "\"'`:;,.()]}")
	return len(word), s.address(word)
}

// encoded is a percent-encoded word with a secret in it.
func (s *scanner) encoded(rest string) (int, string) {
	n := wordEnd(rest, " \t\r\"'`")
	word := rest[:n]
	if decoded := decode(word); decoded == word || s.text(decoded) == decoded {
		return 0, ""
	}
	return n, Hidden
}
