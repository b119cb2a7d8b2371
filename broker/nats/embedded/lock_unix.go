//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockFile opens and locks a file, which one Broker at a time can do; unlockFile, or the end
// of the process, unlocks it. The file has the id of the process that has locked it.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		owner := make([]byte, 20)
		n, _ := file.ReadAt(owner, 0)
		return nil, fmt.Errorf("%w (process %s): stop it or choose another directory", ErrLocked, strings.TrimSpace(string(owner[:n])))
	}
	if err := file.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(file, os.Getpid())
	}
	return file, nil
}

// unlockFile unlocks the file. To close it would not be enough: a process that is being
// started at this moment has it too, until it runs its own program.
func unlockFile(file *os.File) {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
	_ = file.Close()
}
