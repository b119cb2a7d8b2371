//go:build unix

package supervisor

import (
	"os/exec"
	"syscall"
)

const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
	dumpSignal     = syscall.SIGQUIT // a Go program writes down its goroutines and ends
)

// Detach has a command run in a session of its own, so that a terminal's interrupt does
// not reach it, and end with all that it has started.
func Detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
