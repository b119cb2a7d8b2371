# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# A hot standby of the server "postgres" of this checkout, as one that a name leads to after
# a failover: it has all that was committed there, a little later, and takes no writes. It is
# copied anew each time it starts.

# shellcheck source=postgres.sh
. "$here/services.d/postgres.sh"

server_ports() { echo STANDBY; }

server_prepare() { :; }

server_run() {
	local bin deadline=$((SECONDS + 120))
	bin=$(postgres_bin)
	rm -rf data
	until PGPASSWORD=$password as_server "$bin/pg_basebackup" --pgdata=data --write-recovery-conf --checkpoint=fast --no-sync \
		--host=127.0.0.1 --port="$(port POSTGRES)" --username="$user"; do
		((SECONDS < deadline)) || exit 1
		rm -rf data
		sleep 0.5 # the server postgres has not started yet
	done
	become "$bin/postgres" -D data -c port="$(port STANDBY)" -c listen_addresses=127.0.0.1 \
		-c unix_socket_directories= -c max_connections=200 -c shared_buffers=64MB \
		-c fsync=off -c logging_collector=off -c hot_standby_feedback=off
}

server_ready() {
	"$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$(port STANDBY)" -d "$user"
}

server_addresses() {
	echo "STANDBY=postgres://$user:$password@127.0.0.1:$(port STANDBY)/$user?sslmode=disable"
}
