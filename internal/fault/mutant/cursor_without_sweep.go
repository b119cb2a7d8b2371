//go:build mutant_cursor_without_sweep

package mutant

const chosen = "cursor_without_sweep"
