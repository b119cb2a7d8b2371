//go:build mutant_receipts_by_id

package mutant

const chosen = "receipts_by_id"
