//go:build mutant_blame_before_handler

package mutant

const chosen = "blame_before_handler"
