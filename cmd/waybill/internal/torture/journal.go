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

// writeDigest notes what is in a transaction's parcel.
func (j *journal) writeDigest(token, digest string) error {
	return j.write(token, digestMark+fate(digest))
}

// digestMark stands in place of a fate, before a digest.
const digestMark fate = "parcel "

// knowledge is what the producers know of a run.
type knowledge struct {
	fates   map[string]fate   // the last one of each transaction
	digests map[string]string // of the transactions' parcels
}

// readJournals returns what the producers of a run know.
func readJournals(dir string) (*knowledge, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return nil, err
	}
	all := &knowledge{map[string]fate{}, map[string]string{}}
	for _, path := range paths {
		if err := readJournal(path, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readJournal(path string, all *knowledge) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		token, f, found := strings.Cut(lines.Text(), " ")
		digest, isDigest := strings.CutPrefix(f, string(digestMark))
		switch fate(f) {
		case begun, committed, rolledBack, unknown:
			all.fates[token] = fate(f)
		default:
			// Half a line: the process was killed while it wrote it.
			switch {
			case isDigest:
				all.digests[token] = digest
			case found:
				all.fates[token] = unknown
			}
		}
	}
	return lines.Err()
}
