# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# ActiveMQ Classic, Apache's distribution, with AMQP 1.0, STOMP and OpenWire, which
# JMS programs speak. Where that cannot be fetched, Debian's package, which has no AMQP.

version=5.18.3
# As its disk gets full it lowers the limit of what it stores, and never raises it again.
recovers=
apache=$dist/activemq-$version
debian=/usr/share/activemq

server_ports() {
	[[ ! -d $apache ]] && [[ -d $debian ]] || echo ACTIVEMQ_AMQP1 ACTIVEMQ_AMQP1_TLS
	echo ACTIVEMQ_STOMP ACTIVEMQ_STOMP_TLS ACTIVEMQ_OPENWIRE
}

server_packages() {
	needs_java
	[[ -d $apache ]] || needs mvn maven
}

server_fetch() {
	fetch_archive "org.apache.activemq:apache-activemq:$version" "$apache" && return
	say "Maven could not fetch it; Debian's package is used, which has no AMQP" >&2
	[[ -d $debian ]] || ((EUID != 0)) || apt_install activemq
	[[ -d $debian ]] || fail "could not be fetched"
}

server_prepare() { mkdir data conf tmp; }

connector() { # NAME SCHEME PORT
	echo "<transportConnector name=\"$1\" uri=\"$2://127.0.0.1:$(port "$3")?maximumConnections=1000&amp;wireFormat.maxFrameSize=104857600\"/>"
}

# As in the configuration that ActiveMQ comes with, but for the users, TLS, the
# sizes, and for what keeps it from holding a topic's messages without limit. No
# web console and no JMX.
configuration() {
	cat <<-END
		<beans xmlns="http://www.springframework.org/schema/beans"
		       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
		       xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
		                           http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
		  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="waybill" dataDirectory="$PWD/data" useJmx="false">
		    <persistenceAdapter><kahaDB directory="$PWD/data/kahadb"/></persistenceAdapter>
		    <plugins>
		      <simpleAuthenticationPlugin anonymousAccessAllowed="false">
		        <users><authenticationUser username="$user" password="$password" groups="admins"/></users>
		      </simpleAuthenticationPlugin>
		    </plugins>
		    <sslContext>
		      <sslContext keyStore="file:conf/server.p12" keyStoreType="PKCS12" keyStorePassword="$password"/>
		    </sslContext>
		    <systemUsage>
		      <systemUsage>
		        <memoryUsage><memoryUsage percentOfJvmHeap="70"/></memoryUsage>
		        <storeUsage><storeUsage limit="8 gb"/></storeUsage>
		        <tempUsage><tempUsage limit="2 gb"/></tempUsage>
		      </systemUsage>
		    </systemUsage>
		    <transportConnectors>
	END
	if [[ -d $apache ]]; then
		connector amqp amqp ACTIVEMQ_AMQP1
		connector amqps amqp+ssl ACTIVEMQ_AMQP1_TLS
	fi
	connector stomp stomp ACTIVEMQ_STOMP
	connector stomps stomp+ssl ACTIVEMQ_STOMP_TLS
	connector openwire tcp ACTIVEMQ_OPENWIRE
	cat <<-END
		    </transportConnectors>
		  </broker>
		</beans>
	END
}

server_is_full() { log_says 'No space left on device'; }

server_run() {
	local program=$apache open
	local -a opens=()
	[[ -d $program ]] || program=$debian
	# Relative paths in addresses, where a space would be refused.
	cp "$state/tls/server.p12" conf/
	configuration >conf/activemq.xml
	cat >conf/log4j2.properties <<-'END'
		rootLogger.level = INFO
		rootLogger.appenderRef.console.ref = console
		appender.console.type = Console
		appender.console.name = console
		appender.console.layout.type = PatternLayout
		appender.console.layout.pattern = %d %-5p %m [%c]%n%throwable{full}
	END
	for open in java.security java.net java.lang java.util java.util.concurrent java.util.concurrent.atomic; do
		opens+=(--add-opens "java.base/$open=ALL-UNNAMED")
	done
	java -Xms64m -Xmx512m -Djava.awt.headless=true -Djava.io.tmpdir="$PWD/tmp" "${opens[@]}" \
		-Dlog4j2.configurationFile="$PWD/conf/log4j2.properties" \
		-Dactivemq.home="$program" -Dactivemq.base="$PWD" -Dactivemq.conf="$PWD/conf" -Dactivemq.data="$PWD/data" \
		-Dactivemq.classpath="$PWD/conf" \
		-jar "$program/bin/activemq.jar" start xbean:file:conf/activemq.xml
}

server_ready() {
	if [[ -d $apache ]]; then
		answers_amqp1 ACTIVEMQ_AMQP1 || return
	fi
	answers_stomp ACTIVEMQ_STOMP
}

server_addresses() {
	local at="$user:$password@127.0.0.1"
	if [[ -d $apache ]]; then
		echo "ACTIVEMQ_AMQP1=amqp1://$at:$(port ACTIVEMQ_AMQP1)"
		echo "ACTIVEMQ_AMQP1_TLS=amqp1s://$at:$(port ACTIVEMQ_AMQP1_TLS)"
	fi
	echo "ACTIVEMQ_STOMP=stomp://$at:$(port ACTIVEMQ_STOMP)"
	echo "ACTIVEMQ_STOMP_TLS=stomp+tls://$at:$(port ACTIVEMQ_STOMP_TLS)"
	echo "ACTIVEMQ_OPENWIRE=tcp://$at:$(port ACTIVEMQ_OPENWIRE)"
}

server_version() {
	if [[ -d $apache ]]; then echo "ActiveMQ $version"; else echo "Debian's ActiveMQ, without AMQP"; fi
}
