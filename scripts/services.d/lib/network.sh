# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# Ports, and what answers at them. The ports are of the private range (IANA), above
# those that Linux gives to outgoing connections.

declare -A port_offset=(
	[MYSQL]=306 [POSTGRES]=432 [PGBOUNCER]=433 [STANDBY]=434
	[ACTIVEMQ_AMQP1]=501 [ACTIVEMQ_AMQP1_TLS]=502 [ACTIVEMQ_STOMP]=503 [ACTIVEMQ_STOMP_TLS]=504 [ACTIVEMQ_OPENWIRE]=505
	[ARTEMIS_AMQP1]=511 [ARTEMIS_AMQP1_TLS]=512 [ARTEMIS_STOMP]=513 [ARTEMIS_STOMP_TLS]=514 [ARTEMIS_OPENWIRE]=515
	[RABBITMQ]=521 [RABBITMQ_TLS]=522 [RABBITMQ_DIST]=523 [RABBITMQ_EPMD]=524
	[NATS]=531
	[KAFKA]=541 [KAFKA_TLS]=542 [KAFKA_CONTROLLER]=543
)

# Those of the loaded server, if it runs: NAME to number.
declare -A port_in_use=()

load_ports() {
	local which number
	port_in_use=()
	alive || return 0
	while read -r which number; do
		port_in_use[$which]=$number
	done <"$server/ports"
}

# save_ports, for load_ports in other calls of this script.
save_ports() {
	local which
	for which in $(server_ports); do
		echo "$which $(port "$which")"
	done >"$server/ports"
}

# port NAME: its number.
port() {
	local variable=WAYBILL_PORT_$1 base=${WAYBILL_PORT_BASE:-}
	if [[ ${port_in_use[$1]:-} ]]; then
		echo "${port_in_use[$1]}"
		return
	fi
	if [[ ! $base || $base == auto ]]; then
		base=$(cat "$state/port-base" 2>/dev/null || echo 61000)
		[[ $base != auto ]] || base=61000 # until choose_port_base has chosen
	fi
	echo "${!variable:-$((base + port_offset[$1]))}"
}

# choose_port_base NAME... remembers WAYBILL_PORT_BASE for the commands that come; with
# "auto" it first looks for a block of ports of which none is in use. A block that
# was chosen before is kept while a server of this checkout runs, and by servers that are
# started again.
choose_port_base() {
	local base=${WAYBILL_PORT_BASE:-} offset
	if [[ ! $base && $(cat "$state/port-base" 2>/dev/null) == auto ]]; then
		base=auto
	fi
	[[ $base ]] || return 0
	if [[ $base != auto ]]; then
		if [[ ! $base =~ ^[0-9]{4,5}$ ]] || ((10#$base < 1024 || 10#$base > 64000)); then
			die "WAYBILL_PORT_BASE must be auto or a number from 1024 to 64000: $base"
		fi
		echo "$base" >"$state/port-base"
		return
	fi
	if [[ $(not_running "${all[@]}") != $(printf '%s\n' "${all[@]}") ]]; then
		return
	fi
	# Who knows a server's address finds it there again, also where nothing else runs meanwhile.
	if [[ $(cat "$state/port-base" 2>/dev/null) =~ ^[0-9]+$ ]] && can_come_back "$@"; then
		return
	fi
	mkdir -p "$dist"
	for base in 61000 62000 63000 64000 {20000..31000..1000}; do
		# Another checkout may have chosen it and not begun to listen: the lock is held
		# until this script ends, and no server has it.
		exec 6>>"$dist/ports-$base.lock"
		flock -n 6 || continue
		for offset in "${port_offset[@]}"; do
			! taken $((base + offset)) || continue 2
		done
		echo "$base" >"$state/port-base"
		return
	done
	exec 6>&-
	die "found no free block of ports; set WAYBILL_PORT_BASE"
}

# can_come_back NAME...: whether these servers have run, and nothing listens at their ports.
can_come_back() {
	local name which
	for name; do
		(
			load "$name"
			[[ -e $state/$name.lock ]] || exit 1 # what was wiped has no more left
			for which in $(server_ports); do
				! taken "$(port "$which")" || exit 1
			done
		) || return
	done
}

# taken PORT: whether something listens there.
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# check_ports fails where another program listens at one of the server's ports.
check_ports() {
	local which number owner
	for which in $(server_ports); do
		number=$(port "$which")
		taken "$number" || continue
		owner=$(ss -Hltnp "sport = :$number" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ (\1, process \2)/p')
		say "port $number of 127.0.0.1 is in use by another program$owner, perhaps a server of another checkout." \
			"Stop that, or set WAYBILL_PORT_$which=NUMBER, or WAYBILL_PORT_BASE=auto for all." >&2
		exit 1
	done
}

show_ports() {
	local which shown=127.0.0.1: separator=
	for which in $(server_ports); do
		shown+=$separator$(port "$which")
		separator=,
	done
	echo "$shown"
}

# converse PORT COUNT REQUEST: sends REQUEST, a format of printf, and prints the
# first COUNT bytes of the answer as hexadecimal digits. Fails after two seconds.
converse() {
	# shellcheck disable=SC2016 # the inner shell's variables
	timeout 2 bash -c '
		exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
		printf "$3" >&3
		head -c "$2" <&3 | od -An -v -tx1 | tr -d " \n"
	' - "$@" 2>/dev/null
}

# The handshakes of the brokers' protocols, each the shortest that shows a server
# which is ready for clients. Argument: the name of the port.

answers_amqp1() { # the SASL header is answered with the same
	[[ $(converse "$(port "$1")" 8 'AMQP\003\001\000\000') == 414d515003010000 ]]
}

answers_amqp091() { # the header is answered with Connection.Start: method 10, 10
	[[ $(converse "$(port "$1")" 11 'AMQP\000\000\011\001') == 010000????????000a000a ]]
}

answers_stomp() { # CONNECT is answered with CONNECTED
	[[ $(converse "$(port "$1")" 9 "CONNECT\naccept-version:1.2\nhost:localhost\nlogin:$user\npasscode:$password\n\n\000") == 434f4e4e4543544544 ]]
}

answers_nats() { # INFO comes by itself
	[[ $(converse "$(port "$1")" 5 '') == 494e464f20 ]]
}

answers_kafka() { # ApiVersions 0 is answered with the correlation 7 and no error
	[[ $(converse "$(port "$1")" 10 '\000\000\000\012\000\022\000\000\000\000\000\007\377\377') == ????????000000070000 ]]
}
