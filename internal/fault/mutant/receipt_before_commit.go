//go:build mutant_receipt_before_commit

package mutant

const chosen = "receipt_before_commit"
