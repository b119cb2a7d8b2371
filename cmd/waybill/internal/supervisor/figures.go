package supervisor

// Figures are what every play's report has, by names that are part of Waybill's
// protocol.
type Figures struct {
	Sent       int64 `json:"sent"`       // messages committed
	Applied    int64 `json:"applied"`    // of these, with an effect
	Resent     int64 `json:"resent"`     // copies sent beyond the first, at least
	Duplicates int64 `json:"duplicates"` // copies that the consumer dropped, at least
	Superseded int64 `json:"superseded"` // messages skipped, since a newer state was there

	Lost     int64 `json:"lost"`     // committed, without an effect, and no newer state in its place
	Doubled  int64 `json:"doubled"`  // with more than one effect
	Stale    int64 `json:"stale"`    // effects that overwrote a newer state
	Phantom  int64 `json:"phantom"`  // effects of nothing that was ever committed
	Leftover int64 `json:"leftover"` // rows still in the outbox
	OK       bool  `json:"ok"`       // the verdict
}
