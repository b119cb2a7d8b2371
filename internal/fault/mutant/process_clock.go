//go:build mutant_process_clock

package mutant

const chosen = "process_clock"
