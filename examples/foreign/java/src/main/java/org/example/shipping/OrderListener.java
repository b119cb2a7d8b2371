package org.example.shipping;

import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.context.annotation.Profile;
import org.springframework.dao.DataAccessResourceFailureException;
import org.springframework.dao.TransientDataAccessException;
import org.springframework.jms.annotation.JmsListener;
import org.springframework.stereotype.Component;
import org.springframework.transaction.TransactionException;
import org.springframework.transaction.support.TransactionTemplate;
import tools.jackson.databind.json.JsonMapper;

/**
 * Takes messages. The database commits guard and effect together, and after that the JMS session,
 * which is transacted, commits the acknowledgement and the receipt together. Whatever is lost
 * between the two, the message comes again, and the guard knows it.
 */
@Component
@Profile("!send")
class OrderListener {
    private static final Logger LOG = LoggerFactory.getLogger(OrderListener.class);
    private static final int MAX_TRIES = 20;

    private final TransactionTemplate transaction;
    private final Guards guards;
    private final Shipping shipping;
    private final JsonMapper json;

    OrderListener(TransactionTemplate transaction, Guards guards, Shipping shipping, JsonMapper json) {
        this.transaction = transaction;
        this.guards = guards;
        this.shipping = shipping;
        this.json = json;
    }

    @JmsListener(destination = "${queue.orders}")
    void order(Message message, Session session) throws JMSException {
        handle(message, session, guards::isNewer, shipping::takeOrder);
    }

    @JmsListener(destination = "${queue.payments}")
    void payment(Message message, Session session) throws JMSException {
        handle(message, session, guards::isFirst, shipping::takePayment);
    }

    private void handle(Message message, Session session, Predicate<Incoming> guard, Consumer<Incoming> effect)
            throws JMSException {
        String queue = ((Queue) message.getJMSDestination()).getQueueName();
        Receipt receipt;
        try {
            receipt = apply(Incoming.of(queue, message), guard, effect);
        } catch (IllegalArgumentException e) {
            receipt = Receipt.rejected(message.getStringProperty("messageId"), "headers or body: " + e);
        }
        String receiptTo = Incoming.header(message, "receiptTo", "");
        boolean isAnswered = receipt.id() != null && receiptTo.startsWith("ack."); // a forged address reaches no other queues
        if (!receipt.isDone()) {
            LOG.warn("not taken from {}: {}", queue, receipt);
            if (!isAnswered) { // nobody else keeps it: its producer does not wait for receipts, or is no Waybill
                send(session, queue + ".rejected", message);
            }
        }
        if (isAnswered) {
            var answer = session.createTextMessage(
                    json.writeValueAsString(new Receipt.Message(Guards.CONSUMER, List.of(receipt))));
            answer.setStringProperty("waybill", "receipt.v1");
            send(session, receiptTo, answer);
        }
    }

    /** Guard and effect in one transaction. */
    private Receipt apply(Incoming m, Predicate<Incoming> guard, Consumer<Incoming> effect) {
        try {
            transaction.executeWithoutResult(status -> {
                if (guard.test(m)) {
                    effect.accept(m);
                }
            });
            return Receipt.done(m); // for a copy, too: its first receipt may be lost
        } catch (TransientDataAccessException | DataAccessResourceFailureException | TransactionException e) {
            throw e; // the database's trouble is no failure of the message: the session rolls back, and it comes again
        } catch (RejectedException e) {
            return Receipt.rejected(m.id().toString(), e.getMessage());
        } catch (RuntimeException e) {
            return m.failures() + 1 < MAX_TRIES ? Receipt.retry(m, e.toString())
                    : Receipt.rejected(m.id().toString(), "gave up: " + e);
        }
    }

    private static void send(Session session, String queue, Message message) throws JMSException {
        try (var producer = session.createProducer(session.createQueue(queue))) {
            producer.send(message);
        }
    }
}
