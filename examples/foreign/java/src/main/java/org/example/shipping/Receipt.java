package org.example.shipping;

import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.List;

/** What became of a message: done, retry (and the relay sends a copy later) or rejected. */
@JsonInclude(JsonInclude.Include.NON_NULL)
record Receipt(String id, String outcome, Integer tries, String error) {

    /** The body of a receipt message. */
    record Message(String consumer, List<Receipt> receipts) {}

    static Receipt done(Incoming m) {
        return new Receipt(m.id().toString(), "done", null, null);
    }

    static Receipt retry(Incoming m, String error) {
        return new Receipt(m.id().toString(), "retry", m.failures() + 1, error);
    }

    static Receipt rejected(String id, String error) {
        return new Receipt(id, "rejected", null, error);
    }

    boolean isDone() {
        return outcome.equals("done");
    }
}
