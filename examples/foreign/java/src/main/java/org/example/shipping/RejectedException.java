package org.example.shipping;

/** No further try can help. The message stays with its producer, for a person. */
class RejectedException extends RuntimeException {
    RejectedException(String reason) {
        super(reason);
    }
}
