package org.example.shipping;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/**
 * A shipping service that takes what a Waybill relay sends, and answers with receipts. With the
 * arguments QUEUE KEY BODY it sends one message to a Waybill inbox instead, and ends.
 */
@SpringBootApplication
public class ShippingApplication {
    public static void main(String[] args) {
        var application = new SpringApplication(ShippingApplication.class);
        if (args.length != 3) {
            application.run(args);
            return;
        }
        application.setAdditionalProfiles("send");
        try (var context = application.run()) {
            context.getBean(Sender.class).send(args[0], args[1], args[2]);
            System.out.println("sent to " + args[0]);
        }
    }
}
