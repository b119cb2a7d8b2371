//go:build mutant_no_resend

package mutant

const chosen = "no_resend"
