# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# ActiveMQ Artemis, Apache's distribution, with AMQP 1.0, STOMP and OpenWire, which
# JMS programs speak.

version=2.40.0
program=$dist/artemis-$version
layout="1 $program"
# On a disk of its own it blocks those who publish at less than a tenth.
full_at=$((20 << 20))

server_ports() { echo ARTEMIS_AMQP1 ARTEMIS_AMQP1_TLS ARTEMIS_STOMP ARTEMIS_STOMP_TLS ARTEMIS_OPENWIRE; }

server_packages() {
	needs_java
	[[ -d $program ]] || needs mvn maven
}

server_fetch() {
	fetch_archive "org.apache.activemq:apache-artemis:$version" "$program" || fail "could not be fetched"
}

# The instance is as "artemis create" makes it, so that queues are made on demand;
# only the acceptors are replaced, and the journal is the one that runs everywhere.
server_prepare() {
	"$program/bin/artemis" create "$PWD/instance" --silent --name waybill \
		--user "$user" --password "$password" --require-login \
		--host 127.0.0.1 --no-web --no-autotune --nio --java-memory 512M
	cp instance/etc/broker.xml instance/etc/broker.xml.created
}

acceptor() { # NAME PORT OPTIONS
	echo "<acceptor name=\"$1\">tcp://127.0.0.1:$(port "$2")?tcpSendBufferSize=1048576;tcpReceiveBufferSize=1048576;useEpoll=true;$3</acceptor>"
}

acceptors() {
	local amqp="protocols=AMQP;amqpCredits=1000;amqpLowCredits=300;amqpMinLargeMessageSize=102400;amqpDuplicateDetection=true"
	# The prefixes make /queue/NAME and /topic/NAME mean what they mean to ActiveMQ.
	local stomp="protocols=STOMP;anycastPrefix=/queue/;multicastPrefix=/topic/"
	local tls="sslEnabled=true;keyStorePath=$state/tls/server.p12;keyStoreType=PKCS12;keyStorePassword=$password"
	echo "<acceptors>"
	acceptor amqp ARTEMIS_AMQP1 "$amqp"
	acceptor amqps ARTEMIS_AMQP1_TLS "$amqp;$tls"
	acceptor stomp ARTEMIS_STOMP "$stomp"
	acceptor stomps ARTEMIS_STOMP_TLS "$stomp;$tls"
	acceptor openwire ARTEMIS_OPENWIRE "protocols=OPENWIRE"
	echo "</acceptors>"
}

server_run() {
	local etc=$PWD/instance/etc usage=90
	acceptors >"$etc/acceptors.xml"
	# The machine's disk may be nearly full, where it would block those who publish.
	[[ ${WAYBILL_DISK:-} ]] || usage=-1
	sed -e "/<acceptors>/r $etc/acceptors.xml" -e '/<acceptors>/,/<\/acceptors>/d' \
		-e 's/<max-disk-usage>[0-9]*/<max-disk-usage>'"$usage/" \
		"$etc/broker.xml.created" >"$etc/broker.xml"
	become "$PWD/instance/bin/artemis" run
}

server_is_full() { log_says 'beyond the configured <max-disk-usage>' 'below the configured <max-disk-usage>'; }

server_ready() { answers_amqp1 ARTEMIS_AMQP1 && answers_stomp ARTEMIS_STOMP; }

server_addresses() {
	local at="$user:$password@127.0.0.1"
	echo "ARTEMIS_AMQP1=amqp1://$at:$(port ARTEMIS_AMQP1)"
	echo "ARTEMIS_AMQP1_TLS=amqp1s://$at:$(port ARTEMIS_AMQP1_TLS)"
	echo "ARTEMIS_STOMP=stomp://$at:$(port ARTEMIS_STOMP)"
	echo "ARTEMIS_STOMP_TLS=stomp+tls://$at:$(port ARTEMIS_STOMP_TLS)"
	echo "ARTEMIS_OPENWIRE=tcp://$at:$(port ARTEMIS_OPENWIRE)"
}

server_version() { echo "Artemis $version"; }
