package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
)

// MakeDir makes the directory for a scenario's files: dir, which may exist and has to be
// empty, or a temporary one for "", whose name begins with prefix.
func MakeDir(dir, prefix string) (path string, err error) {
	if dir == "" {
		return os.MkdirTemp("", prefix)
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty; name a directory for this run alone", path)
	}
	return path, nil
}
