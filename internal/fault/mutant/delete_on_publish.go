//go:build mutant_delete_on_publish

package mutant

const chosen = "delete_on_publish"
