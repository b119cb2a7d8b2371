package org.example.shipping;

import jakarta.jms.BytesMessage;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.TextMessage;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.UUID;
import java.util.regex.Pattern;

/**
 * A message of a Waybill producer.
 *
 * @param id        the message's identity
 * @param key       what it is about; empty for nothing
 * @param timeStamp grows with every message of the key
 * @param failures  how often a handler has failed with it
 * @param producer  whose records these are: the name of an outbox and its identity
 */
record Incoming(String queue, UUID id, String key, long timeStamp, int failures, String producer, String body) {

    private static final Pattern OUTBOX = Pattern.compile("ack\\.(.+\\.[a-z0-9]{16,64})");

    /** Fails with an IllegalArgumentException where the headers cannot be read. */
    static Incoming of(String queue, Message m) throws JMSException {
        return new Incoming(queue, UUID.fromString(header(m, "messageId", "none")), header(m, "businessMark", ""),
                Long.parseLong(header(m, "timeStamp", "0")), Integer.parseInt(header(m, "failures", "0")),
                producerOf(m), bodyOf(m));
    }

    /** A header as text, whatever type of property it came as. */
    static String header(Message m, String name, String otherwise) throws JMSException {
        return Objects.requireNonNullElse(m.getStringProperty(name), otherwise);
    }

    /** The producer's name without the outbox's identity. */
    String producerName() {
        return producer.substring(0, producer.lastIndexOf('.'));
    }

    // The receipt queue is ack.<producer>.<identity>. What follows "ack." names the outbox; of a
    // producer that wants no receipts it is the header producer and a dot.
    private static String producerOf(Message m) throws JMSException {
        var outbox = OUTBOX.matcher(header(m, "receiptTo", ""));
        return outbox.matches() ? outbox.group(1) : header(m, "producer", "") + ".";
    }

    // Which of the two it is depends on the protocols that it came through.
    private static String bodyOf(Message m) throws JMSException {
        if (m instanceof TextMessage text) {
            return Objects.requireNonNullElse(text.getText(), "");
        }
        if (m instanceof BytesMessage bytes) {
            var body = new byte[Math.toIntExact(bytes.getBodyLength())];
            bytes.reset();
            bytes.readBytes(body);
            return new String(body, StandardCharsets.UTF_8);
        }
        throw new IllegalArgumentException("a body of the type " + m.getClass().getSimpleName());
    }
}
