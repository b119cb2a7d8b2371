# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# Kafka, one node in KRaft mode, put together from its libraries: Maven Central does
# not have the distribution. Clients log in by SASL, PLAIN or SCRAM-SHA-256. A server
# that was killed is let in again when broker.session.timeout.ms is over.

version=4.1.1
program=$dist/kafka-$version
layout="1 $program"

server_ports() { echo KAFKA KAFKA_TLS KAFKA_CONTROLLER; }

server_packages() {
	needs_java
	[[ -d $program ]] || needs mvn maven
}

server_fetch() {
	fetch_jars "$program" "org.apache.kafka:kafka_2.13:$version" \
		org.apache.logging.log4j:log4j-slf4j-impl:2.24.3 || fail "could not be fetched"
}

configuration() {
	local jaas="org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$user\" password=\"$password\" user_$user=\"$password\";"
	local scram="org.apache.kafka.common.security.scram.ScramLoginModule required;"
	local plain tls controller
	plain=127.0.0.1:$(port KAFKA)
	tls=127.0.0.1:$(port KAFKA_TLS)
	controller=127.0.0.1:$(port KAFKA_CONTROLLER)
	cat <<-END
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@$controller
		log.dirs=$PWD/data

		listeners=SASL_PLAINTEXT://$plain,SASL_SSL://$tls,CONTROLLER://$controller
		advertised.listeners=SASL_PLAINTEXT://$plain,SASL_SSL://$tls
		listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
		controller.listener.names=CONTROLLER
		inter.broker.listener.name=SASL_PLAINTEXT

		sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
		sasl.mechanism.inter.broker.protocol=PLAIN
		listener.name.sasl_plaintext.plain.sasl.jaas.config=$jaas
		listener.name.sasl_ssl.plain.sasl.jaas.config=$jaas
		listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=$scram
		listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$scram
		ssl.keystore.type=PKCS12
		ssl.keystore.location=$state/tls/server.p12
		ssl.keystore.password=$password
		ssl.key.password=$password

		num.partitions=4
		offsets.topic.num.partitions=4
		offsets.topic.replication.factor=1
		transaction.state.log.num.partitions=4
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.num.partitions=4
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
		broker.session.timeout.ms=3000
		broker.heartbeat.interval.ms=500
	END
}

kafka_java() { # CLASS ARGUMENT...
	java -Xms64m -Xmx512m -Djava.awt.headless=true \
		-Dlog4j2.configurationFile="$PWD/log4j2.properties" -cp "$program/*" "$@"
}

server_prepare() {
	cat >log4j2.properties <<-'END'
		rootLogger.level = WARN
		rootLogger.appenderRef.console.ref = console
		appender.console.type = Console
		appender.console.name = console
		appender.console.layout.type = PatternLayout
		appender.console.layout.pattern = %d %-5p %m [%c]%n%throwable{full}
	END
	configuration >server.properties
	kafka_java kafka.tools.StorageTool format --cluster-id d2F5YmlsbC10ZXN0aW5nMQ \
		--config server.properties --add-scram "SCRAM-SHA-256=[name=$user,password=$password]"
}

server_is_full() { log_says 'No space left on device'; }

server_run() {
	configuration >server.properties
	kafka_java kafka.Kafka server.properties
}

server_ready() { answers_kafka KAFKA && taken "$(port KAFKA_TLS)"; }

server_addresses() {
	echo "KAFKA=kafka://$user:$password@127.0.0.1:$(port KAFKA)"
	echo "KAFKA_TLS=kafka+tls://$user:$password@127.0.0.1:$(port KAFKA_TLS)"
}

server_version() { echo "Kafka $version"; }
