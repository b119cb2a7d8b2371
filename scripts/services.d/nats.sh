# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# NATS with JetStream. It has one port for both: a client that asks for TLS gets it.

# Once it could not write a stream, it may neither answer any more nor stop.
recovers=

server_ports() { echo NATS; }

server_packages() { needs nats-server nats-server; }

server_prepare() { mkdir jetstream; }

server_run() {
	cat >nats.conf <<-END
		server_name: waybill
		listen: "127.0.0.1:$(port NATS)"
		authorization { user: "$user", password: "$password" }
		jetstream { store_dir: "$PWD/jetstream", max_memory_store: 256MB, max_file_store: 8GB }
		tls { cert_file: "$state/tls/server.pem", key_file: "$state/tls/server.key" }
		allow_non_tls: true
	END
	become nats-server --config nats.conf
}

server_ready() { answers_nats NATS; }

server_addresses() {
	echo "NATS=nats://$user:$password@127.0.0.1:$(port NATS)"
	echo "NATS_TLS=tls+nats://$user:$password@127.0.0.1:$(port NATS)"
}

server_version() { nats-server --version | sed 's/.*: v/NATS /'; }
