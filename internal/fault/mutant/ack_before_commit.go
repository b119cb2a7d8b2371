//go:build mutant_ack_before_commit

package mutant

const chosen = "ack_before_commit"
