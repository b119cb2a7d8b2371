# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# RabbitMQ, a node of its own: its own name, cookie and Erlang port mapper, and no
# plugin. Nothing of the system's node is read or written.

# It blocks those who publish as soon as less than 50 MB are free.
full_at=$((20 << 20))

server_is_full() { log_says 'Free disk space is insufficient' 'Free disk space is sufficient'; }

server_ports() { echo RABBITMQ RABBITMQ_TLS RABBITMQ_DIST RABBITMQ_EPMD; }

# rabbitmq_server: the real script; the one in the path insists on Debian's user.
rabbitmq_server() {
	local candidate
	for candidate in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server)"; do
		if [[ -x $candidate ]]; then
			echo "$candidate"
			return
		fi
	done
	return 1
}

server_packages() { rabbitmq_server >/dev/null || echo rabbitmq-server; }

server_prepare() {
	mkdir mnesia log
	# Erlang takes the cookie from its home directory.
	openssl rand -hex 16 >.erlang.cookie
	chmod 400 .erlang.cookie
	echo '[].' >enabled_plugins
}

server_run() {
	local epmd
	cat >rabbitmq.conf <<-END
		listeners.tcp.default = 127.0.0.1:$(port RABBITMQ)
		listeners.ssl.default = 127.0.0.1:$(port RABBITMQ_TLS)
		ssl_options.cacertfile = $state/tls/ca.pem
		ssl_options.certfile = $state/tls/server.pem
		ssl_options.keyfile = $state/tls/server.key
		ssl_options.verify = verify_none
		ssl_options.fail_if_no_peer_cert = false
		default_user = $user
		default_pass = $password
		log.console = true
		log.console.level = info
		log.file = false
	END
	# What a test wants otherwise, as Erlang terms: [{rabbit, [{channel_max, 30}]}].
	echo "${WAYBILL_RABBITMQ_CONFIG:-[].}" >advanced.config
	export HOME=$PWD
	ERL_EPMD_PORT=$(port RABBITMQ_EPMD)
	RABBITMQ_DIST_PORT=$(port RABBITMQ_DIST)
	export ERL_EPMD_PORT RABBITMQ_DIST_PORT ERL_EPMD_ADDRESS=127.0.0.1
	# A file that is not there, in place of the system's.
	export RABBITMQ_CONF_ENV_FILE=$PWD/no-rabbitmq-env.conf
	export RABBITMQ_CONFIG_FILE=$PWD/rabbitmq.conf RABBITMQ_ADVANCED_CONFIG_FILE=$PWD/advanced.config
	export RABBITMQ_ENABLED_PLUGINS_FILE=$PWD/enabled_plugins
	export RABBITMQ_NODENAME=waybill@localhost RABBITMQ_MNESIA_BASE=$PWD/mnesia RABBITMQ_LOG_BASE=$PWD/log
	export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +SDio 4 -kernel inet_dist_use_interface {127,0,0,1}"
	export RABBITMQ_LOG=-color
	# With these two the script becomes the server, instead of waiting for it.
	export RABBITMQ_ALLOW_INPUT=1 RABBITMQ_SERVER_START_ARGS=-noinput
	# The port mapper is the server's child, and is killed with it.
	epmd=$(command -v epmd || printf '%s\n' /usr/lib/erlang/erts-*/bin/epmd | tail -n 1)
	setsid "$epmd" &
	echo "$! $(started "$!")" >"$server/helper"
	become "$(rabbitmq_server)"
}

server_ready() { answers_amqp091 RABBITMQ && taken "$(port RABBITMQ_TLS)"; }

server_addresses() {
	echo "RABBITMQ=rabbitmq://$user:$password@127.0.0.1:$(port RABBITMQ)"
	echo "RABBITMQ_TLS=rabbitmqs://$user:$password@127.0.0.1:$(port RABBITMQ_TLS)"
}

server_version() {
	printf 'RabbitMQ %s\n' "$(sed -n 's/.*{vsn, *"\([^"]*\)".*/\1/p' \
		"$(dirname "$(readlink -f "$(rabbitmq_server)")")"/../plugins/rabbit-*/ebin/rabbit.app 2>/dev/null | head -n 1)"
}
