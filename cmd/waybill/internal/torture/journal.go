package torture

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// journal is what a producer's process knows of its own transactions, in a file of its own
// and in no database: a line each, written before and after COMMIT. A line that was
// written survives the process. What has begun and has no other line is unknown: the
// process was killed inside COMMIT.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

// fate is what a producer knows of a transaction.
type fate string

const (
	begun      fate = "begun"     // before COMMIT is sent
	committed  fate = "committed" // COMMIT has succeeded
	rolledBack fate = "rolled-back"
	unknown    fate = "unknown" // COMMIT has failed: the producer was not told how it ended
)

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &journal{file: file}, err
}

// write notes a transaction's fate.
func (j *journal) write(token string, f fate) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := fmt.Fprintf(j.file, "%s %s\n", token, f)
	return err
}

// readJournals returns the last fate of each transaction of a run.
func readJournals(dir string) (map[string]fate, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return nil, err
	}
	all := map[string]fate{}
	for _, path := range paths {
		if err := readJournal(path, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readJournal(path string, all map[string]fate) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		token, f, found := strings.Cut(lines.Text(), " ")
		switch fate(f) {
		case begun, committed, rolledBack, unknown:
			all[token] = fate(f)
		default:
			// Half a line: the process was killed while it wrote it.
			if found {
				all[token] = unknown
			}
		}
	}
	return lines.Err()
}
