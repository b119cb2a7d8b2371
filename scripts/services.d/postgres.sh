# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# PostgreSQL, of any version that is installed; Debian's otherwise.

run_as=$(unprivileged postgres)
stop_signal=INT # "fast": ends the sessions and writes a checkpoint

# postgres_bin: the directory of the newest server's programs.
postgres_bin() {
	local newest
	newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
	[[ -x $newest ]] || newest=$(command -v initdb) || return 1
	dirname "$newest"
}

layout="1 $(postgres_bin || true)" # a newer PostgreSQL does not read older data

server_ports() { echo POSTGRES; }

server_packages() { postgres_bin >/dev/null || echo postgresql; }

server_prepare() {
	local bin
	bin=$(postgres_bin)
	echo "$password" >password
	as_server "$bin/initdb" --pgdata=data --username="$user" --pwfile=password \
		--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync
	echo "CREATE DATABASE $user;" | as_server "$bin/postgres" --single -D data postgres
}

# No Unix socket: its path could become too long, and the tests use TCP.
server_run() {
	local bin
	bin=$(postgres_bin)
	# Left by a server that was killed. It names a process that is dead, but whose id
	# may be in use again, and then PostgreSQL would not start.
	rm -f data/postmaster.pid
	become "$bin/postgres" -D data -c port="$(port POSTGRES)" -c listen_addresses=127.0.0.1 \
		-c unix_socket_directories= -c max_connections=200 -c shared_buffers=256MB \
		-c fsync=on -c logging_collector=off ${WAYBILL_DISK:+-c max_wal_size=128MB}
}

server_ready() {
	"$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$(port POSTGRES)" -d "$user"
}

server_addresses() {
	echo "POSTGRES=postgres://$user:$password@127.0.0.1:$(port POSTGRES)/$user?sslmode=disable"
}

server_version() { "$(postgres_bin)/postgres" --version | sed 's/.*) \([0-9.]*\).*/PostgreSQL \1/'; }
