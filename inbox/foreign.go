package inbox

import (
	waybill "github.com/waybill-go/waybill"
)

// Messages of foreign producers carry no receipt address, and neither do those of
// destinations that are set to Accepted. After a failure they stay with the broker, which
// waits for their acknowledgement, and come to their worker again. Their tries are counted
// here, in memory, until they are kept (see kept.go): after a restart of this process they
// are tried some more.

// maxForeign is how many messages' tries are counted at least: of those that were tried
// last.
const maxForeign = 10_000

// countForeign counts a try that has failed and returns how many there have been.
func (r *route) countForeign(id waybill.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	tries, _ := r.tries.Get(id)
	r.tries.Set(id, tries+1)
	return tries + 1
}

// triesForeign returns how many tries have failed.
func (r *route) triesForeign(id waybill.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	tries, _ := r.tries.Get(id)
	return tries
}

// forgetForeign drops what is known of a message that does not come again.
func (r *route) forgetForeign(id waybill.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries.Delete(id)
	r.hung.Delete(id)
}
