//go:build mutant_select_then_update

package mutant

const chosen = "select_then_update"
