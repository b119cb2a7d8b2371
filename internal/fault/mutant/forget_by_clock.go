//go:build mutant_forget_by_clock

package mutant

const chosen = "forget_by_clock"
