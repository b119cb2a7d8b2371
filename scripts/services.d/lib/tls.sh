# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# A throwaway certificate authority, and one certificate for all the brokers.

# make_certificates makes, where they are missing or about to expire, in $state/tls:
# ca.pem, server.pem, server.key, and server.p12 for the brokers in Java.
make_certificates() {
	local tls=$state/tls work
	if openssl x509 -checkend 86400 -noout -in "$tls/server.pem" >/dev/null 2>&1; then
		return
	fi
	work=$(mktemp -d "$state/tls.XXXXXX")
	(
		cd "$work"
		new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc)
		openssl req -x509 "${new_key[@]}" -keyout ca.key -out ca.pem -days 3650 \
			-subj "/CN=Waybill test CA" -addext "keyUsage=critical,keyCertSign,cRLSign"
		openssl req "${new_key[@]}" -keyout server.key -out server.csr -subj "/CN=localhost"
		openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 3650 \
			-extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
		openssl pkcs12 -export -in server.pem -inkey server.key -certfile ca.pem -name server \
			-out server.p12 -passout "pass:$password"
		rm -f ca.key ca.srl server.csr
	) >"$state/tls.log" 2>&1 || die "could not make certificates: $(cat "$state/tls.log")"
	chmod 755 "$work"
	rm -rf "$tls"
	mv -T "$work" "$tls"
	rm -f "$state/tls.log"
}
