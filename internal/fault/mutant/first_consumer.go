//go:build mutant_first_consumer

package mutant

const chosen = "first_consumer"
