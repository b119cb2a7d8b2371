//go:build !unix

package supervisor

import (
	"os"
	"os/exec"
)

// Where there is no SIGSTOP, these are signals that cannot be sent.
var (
	stopSignal     = os.Interrupt
	continueSignal = os.Interrupt
	dumpSignal     = os.Interrupt
)

// Detach does nothing here.
func Detach(*exec.Cmd) {}
