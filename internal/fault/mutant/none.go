//go:build !mutant_ack_unkept && !mutant_ack_before_commit && !mutant_receipt_before_commit && !mutant_guard_outside_transaction && !mutant_select_then_update && !mutant_no_record && !mutant_delete_on_publish && !mutant_delete_on_retry && !mutant_first_consumer && !mutant_window_held && !mutant_cursor_without_sweep && !mutant_no_resend && !mutant_process_clock && !mutant_guard_by_sequence && !mutant_forget_by_clock && !mutant_resend_as_new && !mutant_commit_unchecked && !mutant_blame_before_handler && !mutant_receipt_by_id && !mutant_forget_by_name

package mutant

const chosen = ""
