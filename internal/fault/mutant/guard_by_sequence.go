//go:build mutant_guard_by_sequence

package mutant

const chosen = "guard_by_sequence"
