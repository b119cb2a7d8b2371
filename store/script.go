package store

import (
	"fmt"
	"slices"
	"strings"
)

// Script returns the SQL that makes one side's tables from nothing, for people who
// run their own migrations. It is made of the same statements that Migrate runs, and
// stores the version at its end. The one error is that of a wrong prefix.
func Script(dialect Dialect, prefix string, side Side) (string, error) {
	names, err := NewNames(prefix)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	delimiter := dialect.Capabilities().Delimiter
	write := func(sql string) {
		sql = strings.TrimSpace(sql)
		if delimiter != "" && strings.Contains(sql, ";") {
			fmt.Fprintf(&b, "DELIMITER %s\n%s%s\nDELIMITER ;\n\n", delimiter, sql, delimiter)
			return
		}
		fmt.Fprintf(&b, "%s;\n\n", sql)
	}
	for _, s := range dialect.CreateVersions(names) {
		write(s.SQL)
	}
	for _, m := range dialect.Migrations(names) {
		if m.Side != side {
			continue
		}
		fmt.Fprintf(&b, "-- %s, version %d\n\n", side, m.Version)
		for _, sql := range slices.Concat(m.Prepare, m.Statements) {
			write(sql)
		}
		if m.CompatibleFrom > 0 {
			write(dialect.SetVersion(names, compatibility(side, m.Version), m.CompatibleFrom).SQL)
		}
	}
	write(dialect.SetVersion(names, side, newestVersion(dialect, side)).SQL)
	return b.String(), nil
}
