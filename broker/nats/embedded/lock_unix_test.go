//go:build unix

package embedded

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A process that is started while the lock is held has a copy of its file until it
// runs its own program, and so has whoever is between the two when the lock goes.
func TestALockGoesAlthoughAProcessThatIsBeingStartedHasItsFile(t *testing.T) {
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
