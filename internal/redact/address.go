package redact

import (
	"iter"
	"regexp"
	"strings"
)

// known are the schemes of databases and brokers, and of what their addresses are made of.
const known = `postgres|postgresql|mysql|mariadb|sqlserver|oracle|sqlite|embedded|amqps?|amqp\+ssl|amqp1s?|stomps?|stomp\+(?:tls|ssl)` +
	`|activemq|activemq\+tls|rabbitmqs?|nats|tls\+nats|nats\+tls|kafka|kafka\+tls|tcp|ssl|tls|wss?|https?|mqtts?|rediss?|mongodb|mongodb\+srv|pulsar|pulsar\+ssl|sb`

// wrapper is what stands before the scheme of an address that is in another one.
const wrapper = `(?:(?:jdbc|r2dbc|failover|fanout|static|discovery|masterslave|peer):(?://)?\(*)*`

var (
	// urlHead is how a URL begins, also where it is one of several.
	urlHead = regexp.MustCompile(`^[\s,;(\[|]*(?i:` + wrapper + `([a-z][a-z0-9+.-]*))://`)
	// next is where another URL of several may begin.
	next = regexp.MustCompile(`[\s,;(\[|]+(?i:` + wrapper + `(?:` + known + `))://`)
	// path is how the address of a file or a directory begins.
	path = regexp.MustCompile(`^(?i:sqlite|embedded|file):`)
	// namesUser is of schemes where a name alone is a user's and no token.
	namesUser = regexp.MustCompile(`^(?i:postgres|postgresql|mysql|mariadb|amqps?|amqp\+ssl|amqp1s?|stomps?|stomp\+(?:tls|ssl)|activemq|activemq\+tls|rabbitmqs?|kafka|kafka\+tls)$`)
	// maybeUser is of forms where a name is a user's if a password follows, and else a token.
	maybeUser = regexp.MustCompile(`^(?i:|nats|tls\+nats|nats\+tls|tcp|ssl|tls)$`)
	// userName is as much of a user's part as may be shown.
	userName = regexp.MustCompile(`^[\pL\pN_.~$+-]*`)
	// host is one with or without a port, or with the network before it, as in tcp(db:3306).
	host = regexp.MustCompile(`^(?:[a-z0-9]+\()?(?:[\pL\pN_.~-]*|\[[0-9A-Fa-f:.]*(?:%[\w.%-]*)?\])(?::(?:[0-9]{0,5}|` + Hidden + `))?[)\]]*$`)
	// pairs are host=… user=… without anything else than words, hosts and files.
	pairs = regexp.MustCompile(`^(?:\s*[A-Za-z_][\w. -]*=\s*(?:'[\pL\pN_./ -]*'|[\pL\pN_./-]*(?::[0-9]{1,5})?(?:,[\pL\pN_./-]*(?::[0-9]{1,5})?)*)(?:[\s;&]+|$))*$`)
	// parameter is one whose name nobody has taken a part of a password for.
	parameter = regexp.MustCompile(`^[A-Za-z_.-]+=`)
	// anyKind is what may be meant for a scheme.
	anyKind = regexp.MustCompile(`^(?i:` + known + `):`)
)

// pieces are the addresses of a list, with what separates them, and an address that is none
// as a whole.
func pieces(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		for _, m := range next.FindAllStringIndex(text, -1) {
			if m[0] > start && complete(text[start:m[0]]) {
				if !yield(text[start:m[0]]) {
					return
				}
				start = m[0]
			}
		}
		yield(text[start:])
	}
}

// complete says whether a piece is a URL whose password, if it has one, ends before it does.
func complete(piece string) bool {
	head := urlHead.FindString(piece)
	if head == "" {
		return false
	}
	rest := piece[len(head):]
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	s := &splitter{}
	s.tail(rest, false)
	ends := rest != "" || !strings.Contains(piece, "@") || strings.HasSuffix(piece, Hidden+"@")
	return ends && s.shown.String() == rest && !strings.Contains(rest, "://")
}

// allComplete says so of each piece of a list.
func allComplete(list string) bool {
	for piece := range pieces(list) {
		if !complete(piece) {
			return false
		}
	}
	return true
}

// splitter takes an address apart.
type splitter struct {
	shown strings.Builder
	kept  []string // the secrets, in each form
}

func (s *splitter) show(text string) { s.shown.WriteString(text) }

// hide hides a part of the address.
func (s *splitter) hide(secret string) {
	s.show(Hidden)
	s.keep(secret)
}

// keep notes a secret.
func (s *splitter) keep(secret string) {
	for _, form := range forms(secret) {
		// What is shorter, or a scheme, is in other words, too.
		if len(form) >= 3 && form != Hidden && !anyKind.MatchString(form+":") {
			s.kept = append(s.kept, form)
		}
	}
}

// one takes an address. The last '@' ends the user's part even where the password holds
// one too.
func (s *splitter) one(text string) {
	head := urlHead.FindStringSubmatchIndex(text)
	if head == nil {
		s.bare(text)
		return
	}
	scheme, rest := text[head[2]:head[3]], text[head[1]:]
	s.show(text[:head[1]])
	at := strings.LastIndexByte(rest, '@')
	if _, value := secretIn(rest); at >= 0 && value >= 0 && value <= at {
		s.hide(rest) // the '@' may be the user's, or the password's that is a parameter
		return
	}
	if at >= 0 {
		s.user(scheme, rest[:at])
	}
	s.tail(rest[at+1:], at >= 0)
}

// bare takes what has no scheme, such as user:password@tcp(host)/database, host=… password=…,
// a file's name, or what is no address.
func (s *splitter) bare(text string) {
	at := strings.LastIndexByte(text, '@')
	name, value := secretIn(text)
	if kind := path.FindString(text); kind != "" && (at < 0 || !strings.Contains(text[len(kind):at], ":")) {
		file, query, hasQuery := strings.Cut(text, "?")
		s.show(file)
		if hasQuery {
			s.show("?")
			s.parameters(query)
		}
		return
	}
	switch {
	case value >= 0 && (at < 0 || value <= at):
		if pairs.MatchString(text[:name]) {
			s.show(text[:value])
		}
		s.show(Hidden)
		for value >= 0 {
			rest := text[value:]
			n := valueEnd(rest)
			s.keep(strings.Trim(rest[:n], `'"`))
			if _, more := secretIn(rest[n:]); more >= 0 {
				value += n + more
			} else {
				value = -1
			}
		}
	case at >= 0:
		s.user("", text[:at])
		s.tail(text[at+1:], true)
	case pairs.MatchString(text) || areHosts(text):
		s.show(text)
	default:
		kind := anyKind.FindString(text)
		s.show(kind)
		s.hide(text[len(kind):])
	}
}

func areHosts(text string) bool {
	for h := range strings.SplitSeq(text, ",") {
		if !host.MatchString(strings.TrimSpace(h)) {
			return false
		}
	}
	return true
}

// user takes the user's part. Whatever a name has not in it ends the name, if something else
// than a token can stand there.
func (s *splitter) user(scheme, text string) {
	name := userName.FindString(text)
	rest := text[len(name):]
	switch {
	case namesUser.MatchString(scheme) && rest == "":
		s.show(name)
	case namesUser.MatchString(scheme) && (name != "" || rest[0] == ':'), maybeUser.MatchString(scheme) && strings.HasPrefix(rest, ":"):
		s.show(name + ":")
		s.hide(rest[1:])
	default:
		s.hide(text)
	}
	s.show("@")
}

// tail takes the hosts and what comes behind them. Where a port is no number, it may be a
// password of an address that has no '@', and what follows a part of it.
func (s *splitter) tail(text string, hasUser bool) {
	end := strings.IndexAny(text, "/?;#")
	if end < 0 {
		end = len(text)
	}
	start := 0
	for i, h := range strings.Split(text[:end], ",") {
		if i > 0 {
			s.show(",")
			start++
		}
		begin := start
		start += len(h)
		if host.MatchString(h) {
			s.show(h)
			continue
		}
		name := userName.FindString(h)
		s.show(name)
		if strings.HasPrefix(h[len(name):], ":") {
			s.show(":")
		}
		s.show(Hidden)
		if !hasUser {
			s.keep(strings.TrimPrefix(h[len(name):], ":"))
			s.keep(strings.TrimPrefix(text[begin+len(name):], ":"))
			return
		}
	}
	text = text[end:]
	text, fragment, hasFragment := strings.Cut(text, "#")
	way, query := text, ""
	if mark := strings.IndexAny(text, "?;"); mark >= 0 {
		way, query = text[:mark], text[mark:]
	}
	if _, value := secretIn(way); value >= 0 {
		s.show(way[:value])
		s.hide(way[value:])
	} else if hidesSomething(way) {
		s.hide(way)
	} else {
		s.show(way)
	}
	if query != "" {
		s.show(query[:1])
		s.parameters(query[1:])
	}
	if hasFragment {
		s.show("#")
		s.hide(fragment)
	}
}

// parameters takes what stands behind the '?': the values of what is called like a secret,
// and what has no name, are hidden. Behind a secret, what is no name may be the rest of it.
func (s *splitter) parameters(query string) {
	after := false
	for len(query) > 0 {
		end := strings.IndexAny(query, "&;")
		if end < 0 {
			end = len(query)
		}
		p := query[:end]
		at := secretAt(p)
		switch {
		case at >= 0:
			s.show(p[:at])
			s.hide(p[at:])
			after = true
		case p != "" && (!strings.Contains(p, "=") || after && !parameter.MatchString(p) || hidesSomething(p)):
			s.hide(p)
		default:
			s.show(p)
		}
		if query = query[end:]; query != "" {
			s.show(query[:1])
			query = query[1:]
		}
	}
}

// secretAt is where a parameter's value begins, if its name is a secret's; -1 if not.
// Where there is another '?' a name may begin after it, and within a value another one.
func secretAt(parameter string) int {
	for start := 0; ; {
		rest := parameter[start:]
		name, value, hasValue := strings.Cut(rest, "=")
		if hasValue && isSecret(name) && !isFile(name, value) {
			return start + len(name) + 1
		}
		mark := strings.IndexByte(rest, '?')
		if mark < 0 {
			_, value := secretIn(parameter)
			return value
		}
		start += mark + 1
	}
}
