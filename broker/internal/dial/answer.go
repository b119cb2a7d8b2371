package dial

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// AnswerTime is how long the other end of a new connection may be silent: a broker answers the
// first words of its protocol at once, and a server of another protocol may wait for the rest
// of them for ever.
const AnswerTime = 10 * time.Second

// NoAnswer says in its own words that a connection has been silent for a time, where err is the
// end of a read's deadline, and returns any other err as it is.
func NoAnswer(err error, silent time.Duration, protocol string) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("nothing came in %v: does this port speak %s? %w", silent, protocol, err)
	}
	return err
}
