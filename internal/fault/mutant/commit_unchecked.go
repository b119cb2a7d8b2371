//go:build mutant_commit_unchecked

package mutant

const chosen = "commit_unchecked"
