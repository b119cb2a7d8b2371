//go:build mutant_window_held

package mutant

const chosen = "window_held"
