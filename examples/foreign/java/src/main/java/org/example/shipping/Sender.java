package org.example.shipping;

import java.nio.ByteBuffer;
import java.security.SecureRandom;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.UUID;
import org.springframework.jms.core.JmsTemplate;
import org.springframework.stereotype.Component;

/**
 * Sends messages to a queue that a Waybill inbox takes messages from. The inbox handles each once,
 * and at level Latest skips it where a newer state has arrived. But between your transaction and
 * this call a message can be lost: where it has to be sent if and only if the transaction
 * commits, insert a row into qmessage in that transaction instead, and let "waybill relay" send it.
 */
@Component
class Sender {
    private static final SecureRandom RANDOM = new SecureRandom();

    private final JmsTemplate jms;

    Sender(JmsTemplate jms) {
        this.jms = jms;
    }

    /**
     * Returns when the broker has the message. Where it fails, send it again with the same messageId
     * and timeStamp: a copy does no harm, and another id would be another message.
     */
    void send(String queue, String key, String body) {
        String id = uuid7().toString();
        long now = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
        jms.send(queue, session -> {
            var message = session.createTextMessage(body);
            message.setStringProperty("messageId", id); // the message's identity
            message.setStringProperty("businessMark", key); // the key: what the message is about
            message.setStringProperty("timeStamp", Long.toString(now)); // µs; grows with every message of the key
            message.setStringProperty("producer", "java"); // a name of the sending service
            return message;
        });
    }

    /** A version 7 UUID: 48 bits of the time in ms, then random ones. */
    static UUID uuid7() {
        var random = new byte[16];
        RANDOM.nextBytes(random);
        var bits = ByteBuffer.wrap(random);
        long high = System.currentTimeMillis() << 16 | 0x7000 | bits.getLong() & 0xFFF;
        long low = bits.getLong() >>> 2 | 0x8000000000000000L;
        return new UUID(high, low);
    }
}
