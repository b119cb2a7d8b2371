# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# MariaDB, which Debian has in place of MySQL. The package with the server alone
# brings no system service; nor does it bring the user mysql, so the user nobody takes its place.

run_as=$(unprivileged mysql nobody)

server_ports() { echo MYSQL; }

server_packages() {
	needs mariadbd mariadb-server-core
	needs mariadb-install-db mariadb-server-core
	needs mariadb mariadb-client-core
}

server_prepare() {
	as_server mariadb-install-db --no-defaults --datadir="$PWD/data" --skip-test-db
}

server_run() {
	# The user may do all: tests make databases and triggers of their own.
	cat >init.sql <<-END
		CREATE DATABASE IF NOT EXISTS $user;
		CREATE USER IF NOT EXISTS $user@'127.0.0.1' IDENTIFIED BY '$password';
		GRANT ALL PRIVILEGES ON *.* TO $user@'127.0.0.1' WITH GRANT OPTION;
	END
	become mariadbd --no-defaults --datadir="$PWD/data" --init-file="$PWD/init.sql" \
		--bind-address=127.0.0.1 --port="$(port MYSQL)" --skip-name-resolve \
		--socket="$PWD/socket" --pid-file="$PWD/mariadbd.pid" \
		--max-connections=200 --innodb-buffer-pool-size=256M \
		--character-set-server=utf8mb4 --collation-server=utf8mb4_unicode_ci
}

server_ready() {
	MYSQL_PWD=$password mariadb --no-defaults --protocol=tcp --host=127.0.0.1 \
		--port="$(port MYSQL)" --user="$user" --connect-timeout=2 -e 'DO 1' "$user" >/dev/null 2>&1
}

server_addresses() {
	echo "MYSQL=mysql://$user:$password@127.0.0.1:$(port MYSQL)/$user"
}

server_version() { mariadbd --no-defaults --version | sed 's/.* Ver \([0-9.]*\).*/MariaDB \1/'; }
