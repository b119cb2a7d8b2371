package store

import (
	"fmt"
	"regexp"
	"strings"
)

// Names are the tables' names, with the user's prefix or schema, checked.
type Names struct {
	Prefix string // as given; part of the names below and of those of triggers and functions

	Message    string // qmessage
	MessageKey string // qmessage_key
	Relay      string // qrelay
	Outbox     string // qoutbox
	Confirmed  string // qconfirmed
	Pause      string // qpause, of the producer's side
	Once       string // n1_record
	Latest     string // n2_record
	Horizon    string // n_horizon
	Rejected   string // n_rejected
	Paused     string // n_pause, of the consumer's side
	Versions   string // waybill_version
}

var prefixForm = regexp.MustCompile(`^([a-z_][a-z0-9_]{0,39}\.)?([a-z_][a-z0-9_]{0,19})?$`)

// NewNames checks prefix and returns the tables' names with it. A prefix is
// "" (none), "app_" (put before each name), "app." (a schema; a database on
// MySQL, an attached database on SQLite), or both: "app.mail_". Each of the two begins
// with a lower-case ASCII letter or '_', goes on with those and digits, and has at most
// 40 characters (the schema) or 20 (what is put before each name).
func NewNames(prefix string) (Names, error) {
	if !prefixForm.MatchString(prefix) {
		return Names{}, fmt.Errorf("waybill: table prefix %.80q: use lower-case letters, digits and '_' (such as \"app_\"), or a schema with a dot (\"app.\")", prefix)
	}
	return Names{
		Prefix:     prefix,
		Message:    prefix + "qmessage",
		MessageKey: prefix + "qmessage_key",
		Relay:      prefix + "qrelay",
		Outbox:     prefix + "qoutbox",
		Confirmed:  prefix + "qconfirmed",
		Pause:      prefix + "qpause",
		Once:       prefix + "n1_record",
		Latest:     prefix + "n2_record",
		Horizon:    prefix + "n_horizon",
		Rejected:   prefix + "n_rejected",
		Paused:     prefix + "n_pause",
		Versions:   prefix + "waybill_version",
	}, nil
}

// Tables are the names of all tables, of both sides.
func (n Names) Tables() []string {
	return []string{
		n.Message, n.MessageKey, n.Relay, n.Outbox, n.Confirmed, n.Pause,
		n.Once, n.Latest, n.Horizon, n.Rejected, n.Paused, n.Versions,
	}
}

// Schema is the part of the prefix before its dot; "" where there is none.
func (n Names) Schema() string {
	schema, _, found := strings.Cut(n.Prefix, ".")
	if !found {
		return ""
	}
	return schema
}

// SQL writes the tables' names into a statement: "{name}" becomes the name with
// the whole prefix, "{.name}" the name with the prefix but without the schema,
// as indexes, constraints and triggers are named. Statements keep values out of
// their text, so no other brace stands in one.
func (n Names) SQL(text string) string {
	local := n.Prefix[strings.IndexByte(n.Prefix, '.')+1:]
	var b strings.Builder
	b.Grow(len(text) + 64)
	for {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		if bare, isLocal := strings.CutPrefix(name, "."); isLocal {
			b.WriteString(local)
			b.WriteString(bare)
		} else {
			b.WriteString(n.Prefix)
			b.WriteString(name)
		}
		text = after
	}
}
