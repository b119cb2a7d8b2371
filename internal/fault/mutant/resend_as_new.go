//go:build mutant_resend_as_new

package mutant

const chosen = "resend_as_new"
