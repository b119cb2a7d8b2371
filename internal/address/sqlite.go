//go:build !waybill_lean || waybill_sqlite || waybill_demo || waybill_torture

package address

import (
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// sqliteSettings: WAL lets readers go on beside the one writer; synchronous FULL
// syncs at each commit, since a committed message must survive a power cut; write
// transactions begin IMMEDIATE, because one that reads first and then finds that
// another has written is refused at once, whatever its busy_timeout.
const sqliteSettings = `?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(on)`

// sqliteConnections is small: one transaction writes at a time, and the other
// connections read or wait for their turn.
const sqliteConnections = 4

func openSQLite(path string) (*sql.DB, error) {
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		return nil, errors.New("the file's name is missing: sqlite:path/to/file.db")
	case strings.Contains(path, ":memory:"):
		return nil, errors.New("a database in memory forgets its messages: name a file, sqlite:path/to/file.db")
	case strings.Contains(path, "?"):
		return nil, errors.New("takes no parameters: the settings that matter are made for you")
	}
	if absolute, found := strings.CutPrefix(path, "//"); found {
		// sqlite:///absolute and sqlite://relative are common elsewhere.
		path = absolute
	}
	segments := strings.Split(filepath.ToSlash(filepath.Clean(path)), "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	db, err := sql.Open("sqlite", "file:"+strings.Join(segments, "/")+sqliteSettings)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(sqliteConnections)
	db.SetMaxIdleConns(sqliteConnections)
	return db, nil
}
