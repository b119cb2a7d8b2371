//go:build mutant_guard_outside_transaction

package mutant

const chosen = "guard_outside_transaction"
