//go:build !unix

package troupe

import "os"

// Where there is no SIGSTOP, these are signals that cannot be sent.
var (
	stopSignal     = os.Interrupt
	continueSignal = os.Interrupt
)
