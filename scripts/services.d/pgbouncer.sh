# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# PgBouncer in transaction mode, in front of the server "postgres" of this checkout: each
# transaction may get another session, and no session can be set up.

run_as=$(unprivileged postgres nobody)
stop_signal=INT

server_ports() { echo PGBOUNCER; }

server_packages() { needs pgbouncer pgbouncer; }

server_prepare() { :; }

server_run() {
	echo "\"$user\" \"$password\"" >users
	cat >pgbouncer.ini <<-END
		[databases]
		* = host=127.0.0.1 port=$(port POSTGRES)

		[pgbouncer]
		listen_addr = 127.0.0.1
		listen_port = $(port PGBOUNCER)
		unix_socket_dir =
		auth_type = scram-sha-256
		auth_file = $PWD/users
		pool_mode = transaction
		default_pool_size = 10
		max_client_conn = 400
		server_idle_timeout = 5
	END
	become pgbouncer -q "$PWD/pgbouncer.ini"
}

server_ready() { taken "$(port PGBOUNCER)"; }

server_addresses() {
	echo "PGBOUNCER=postgres://$user:$password@127.0.0.1:$(port PGBOUNCER)/$user?sslmode=disable"
}

server_version() { pgbouncer --version | sed -n 's/^PgBouncer \([0-9.]*\).*/PgBouncer \1/p'; }
