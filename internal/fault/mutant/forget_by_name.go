//go:build mutant_forget_by_name

package mutant

const chosen = "forget_by_name"
