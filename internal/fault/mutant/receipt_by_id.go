//go:build mutant_receipt_by_id

package mutant

const chosen = "receipt_by_id"
