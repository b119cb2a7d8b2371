//go:build mutant_ack_unkept

package mutant

const chosen = "ack_unkept"
