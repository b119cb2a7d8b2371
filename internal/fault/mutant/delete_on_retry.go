//go:build mutant_delete_on_retry

package mutant

const chosen = "delete_on_retry"
