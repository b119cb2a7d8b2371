//go:build mutant_no_record

package mutant

const chosen = "no_record"
