import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.ConnectionFactory;
import jakarta.jms.JMSException;
import jakarta.jms.MapMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.ObjectMessage;
import jakarta.jms.QueueBrowser;
import jakarta.jms.Session;
import jakarta.jms.StreamMessage;
import jakarta.jms.TextMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.qpid.jms.JmsConnectionFactory;

/**
 * JMS programs that know nothing of Waybill's library. One machine serves many cases: each line of
 * standard input is a command, carried out in a thread of its own, with fields between tabs:
 *
 * <pre>
 *   produce  ADDRESS QUEUE   sends every type of message, each to the queue QUEUE.TYPE,
 *                            and a text behind it
 *   consume  ADDRESS QUEUE   takes messages and sends receipts, until the program ends
 *   browse   ADDRESS QUEUE   says of each message that is in the queue to which one it was sent
 * </pre>
 *
 * and each line of standard output is what happened at one queue; see said.
 */
public class Jms {
    public static void main(String[] args) throws Exception {
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = commands.readLine()) != null; ) {
            String[] command = line.split("\t");
            var thread = new Thread(() -> run(command[0], command[1], command[2]));
            thread.setDaemon(true);
            thread.start();
        }
    }

    static void run(String what, String address, String queue) {
        try (Connection connection = connect(address)) {
            connection.start();
            if (what.equals("produce")) {
                new Producer(connection, queue).sendAll();
                said(queue, "sent");
            } else if (what.equals("browse")) {
                browse(connection, queue);
            } else {
                consume(connection, queue);
            }
        } catch (Exception e) {
            said(queue, "failed", e.toString());
        }
    }

    /** A line: the queue, what happened there, and more about it. */
    static synchronized void said(String queue, String what, String... more) {
        var fields = new ArrayList<String>(List.of(queue, what));
        fields.addAll(java.util.Arrays.asList(more));
        System.out.println(String.join("\t", fields).replace('\n', ' '));
    }

    /** tcp://user:password@host:port is ActiveMQ's client (OpenWire), amqp://... is Qpid's. */
    static Connection connect(String address) throws Exception {
        var uri = new URI(address);
        String[] user = uri.getUserInfo().split(":");
        String server = uri.getScheme() + "://" + uri.getHost() + ":" + uri.getPort();
        ConnectionFactory factory = uri.getScheme().equals("tcp")
                ? new ActiveMQConnectionFactory(user[0], user[1], server)
                : new JmsConnectionFactory(user[0], user[1], server);
        return factory.createConnection();
    }

    static String uuid7() {
        var random = ThreadLocalRandom.current();
        long high = System.currentTimeMillis() << 16 | 0x7000 | random.nextInt(0x1000);
        return new UUID(high, random.nextLong() >>> 2 | 0x8000000000000000L).toString();
    }

    /** Sends a message of each type. Those that the cases expect are in producer_test.go. */
    static class Producer {
        static final String COMPRESSIBLE = "compressed ".repeat(50);
        final Connection connection;
        final Session session;
        final String queue;

        Producer(Connection connection, String queue) throws JMSException {
            this.connection = connection;
            this.session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
            this.queue = queue;
        }

        void sendAll() throws JMSException {
            send("text", session.createTextMessage("h\u00e4llo \ud83d\ude00 <&>\n2"));
            send("text-empty", session.createTextMessage());
            send("bytes", bytes(new byte[] {0, 1, (byte) 0xff, (byte) 0xfe, 'x'}));
            send("bytes-empty", bytes(new byte[0]));
            MapMessage map = session.createMapMessage();
            map.setString("state", "shipped");
            map.setInt("parcels", 2);
            map.setBoolean("insured", true);
            send("map", map);
            StreamMessage stream = session.createStreamMessage();
            stream.writeString("shipped");
            stream.writeInt(2);
            send("stream", stream);
            send("object", session.createObjectMessage(new ArrayList<>(List.of("shipped", "2"))));
            send("no-body", session.createMessage());
            sendAs("no-id", session.createTextMessage("without an id"), null);
            sendAs("id-v4", session.createTextMessage("with another kind of id"), UUID.randomUUID().toString());
            if (connection instanceof ActiveMQConnection activemq) {
                activemq.setUseCompression(true);
                send("text-compressed", session.createTextMessage(COMPRESSIBLE));
                send("bytes-compressed", bytes(COMPRESSIBLE.getBytes(StandardCharsets.UTF_8)));
            }
        }

        BytesMessage bytes(byte[] body) throws JMSException {
            BytesMessage message = session.createBytesMessage();
            message.writeBytes(body);
            return message;
        }

        void send(String type, Message message) throws JMSException {
            sendAs(type, message, uuid7());
        }

        void sendAs(String type, Message message, String id) throws JMSException {
            if (id != null) {
                message.setStringProperty("messageId", id);
            }
            message.setStringProperty("queue", queue + "." + type); // for browse
            message.setStringProperty("businessMark", "order 7");
            message.setLongProperty("timeStamp", System.currentTimeMillis() * 1000);
            message.setIntProperty("parcels", 2);
            message.setBooleanProperty("insured", true);
            message.setDoubleProperty("weight", 1.5);
            message.setJMSType("order");
            message.setJMSCorrelationID("correlation-1");
            try (MessageProducer producer = session.createProducer(session.createQueue(queue + "." + type))) {
                producer.send(message);
                // Behind it, so that the test knows when it has been passed.
                TextMessage last = session.createTextMessage("the last message");
                last.setStringProperty("messageId", uuid7());
                last.setBooleanProperty("isLast", true);
                producer.send(last);
            }
        }
    }

    /**
     * Takes messages and answers each: what the header "answer" asks for at its first copy, and
     * done to a later one. Receipts are TextMessages and BytesMessages in turn.
     */
    static void consume(Connection connection, String queue) throws Exception {
        Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        try (MessageConsumer consumer = session.createConsumer(session.createQueue(queue))) {
            said(queue, "ready");
            for (int n = 0; ; n++) {
                Message message = consumer.receive();
                said(queue, "took", kind(message), message.getStringProperty("answer"),
                        message.getStringProperty("businessMark"), message.getStringProperty("failures"),
                        HexFormat.of().formatHex(body(message)));
                message.acknowledge();
                Message receipt = receipt(session, message, n % 2 == 0);
                try (MessageProducer producer = session.createProducer(session.createQueue(message.getStringProperty("receiptTo")))) {
                    producer.send(receipt);
                }
            }
        }
    }

    static void browse(Connection connection, String queue) throws JMSException {
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        try (QueueBrowser browser = session.createBrowser(session.createQueue(queue))) {
            for (var messages = browser.getEnumeration(); messages.hasMoreElements(); ) {
                String from = ((Message) messages.nextElement()).getStringProperty("queue");
                if (from != null) {
                    said(from, "is in", queue);
                }
            }
        }
        said(queue, "browsed");
    }

    static Message receipt(Session session, Message message, boolean isText) throws JMSException {
        String answer = message.getStringProperty("answer");
        String error = ",\"error\":\"no such order\"";
        String what = switch (message.getStringProperty("failures") == null ? answer : "done") {
            case "retry" -> "retry\"" + error;
            case "rejected" -> "rejected\"" + error;
            default -> "done\"";
        };
        String json = "{\"consumer\":\"jms\",\"receipts\":[{\"id\":\"" + message.getStringProperty("messageId")
                + "\",\"outcome\":\"" + what + "}]}";
        Message receipt;
        if (isText) {
            receipt = session.createTextMessage(json);
        } else {
            BytesMessage bytes = session.createBytesMessage();
            bytes.writeBytes(json.getBytes(StandardCharsets.UTF_8));
            receipt = bytes;
        }
        receipt.setStringProperty("waybill", "receipt.v1");
        return receipt;
    }

    /** The type of a message, as JMS names it. */
    static String kind(Message message) {
        return message instanceof TextMessage ? "TextMessage"
                : message instanceof BytesMessage ? "BytesMessage"
                : message instanceof MapMessage ? "MapMessage"
                : message instanceof StreamMessage ? "StreamMessage"
                : message instanceof ObjectMessage ? "ObjectMessage"
                : "Message";
    }

    static byte[] body(Message message) throws JMSException {
        if (message instanceof TextMessage text) {
            return text.getText() == null ? new byte[0] : text.getText().getBytes(StandardCharsets.UTF_8);
        }
        if (message instanceof BytesMessage bytes) {
            var body = new byte[(int) bytes.getBodyLength()];
            bytes.reset();
            bytes.readBytes(body);
            return body;
        }
        return new byte[0];
    }
}
