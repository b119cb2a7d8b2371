package org.example.shipping;

import org.springframework.jdbc.core.simple.JdbcClient;
import org.springframework.stereotype.Component;
import tools.jackson.databind.json.JsonMapper;

/** The business. Each method is called in the transaction of its guard, once for a message. */
@Component
class Shipping {
    private final JdbcClient db;
    private final JsonMapper json;

    Shipping(JdbcClient db, JsonMapper json) {
        this.db = db;
        this.json = json;
    }

    record Order(String state) {}

    void takeOrder(Incoming m) {
        db.sql("""
                INSERT INTO shipments (order_id, state) VALUES (?, ?)
                ON CONFLICT (order_id) DO UPDATE SET state = excluded.state""")
                .param(m.key()).param(json.readValue(m.body(), Order.class).state()).update();
    }

    record Payment(long cents) {}

    void takePayment(Incoming m) {
        long cents = json.readValue(m.body(), Payment.class).cents();
        if (cents <= 0) {
            throw new RejectedException(cents + " cents are no payment");
        }
        db.sql("""
                INSERT INTO paid AS p (order_id, cents) VALUES (?, ?)
                ON CONFLICT (order_id) DO UPDATE SET cents = p.cents + excluded.cents""")
                .param(m.key()).param(cents).update();
    }
}
