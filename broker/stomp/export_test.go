package stomp

import "time"

// SetAnswerTime sets how long a broker may be silent at first.
func (b *Broker) SetAnswerTime(d time.Duration) { b.answerTime = d }
