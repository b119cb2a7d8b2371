//go:build unix

package embedded

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A process that is started while the file is locked has a copy of the file until it runs
// its own program.
func TestAFileIsUnlockedAlthoughAProcessThatIsBeingStartedHasIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	file, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(held)
	unlockFile(file)
	again, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unlockFile(again)
}
