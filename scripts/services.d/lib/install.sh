# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# What the servers need: Debian packages, and Apache's distributions from Maven
# Central, which are kept in $dist for every checkout.

dist=${WAYBILL_DIST:-${XDG_CACHE_HOME:-${HOME:-$state}/.cache}/waybill}

# install_packages NAME...: the Debian packages that these servers miss.
install_packages() {
	local -a missing
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]})) || return 0
	if ! command -v apt-get >/dev/null; then
		die "missing: ${missing[*]} (the names of Debian's packages); install them, or use compose.yaml"
	fi
	if ((EUID != 0)); then
		die "packages are missing; run: sudo apt-get install --no-install-recommends ${missing[*]}"
	fi
	echo "installing ${missing[*]}" >&2
	apt_install "${missing[@]}"
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]} == 0)) || die "installed, but without the programs that were expected: ${missing[*]}"
}

missing_packages() { # NAME...
	local name
	{
		for name; do
			(
				load "$name"
				server_packages
			)
		done
		needs openssl openssl
		needs setsid util-linux
	} | sort -u
}

# needs COMMAND PACKAGE: prints the package where there is no such command.
needs() { command -v "$1" >/dev/null || echo "$2"; }

needs_java() {
	command -v "${JAVA_HOME:+$JAVA_HOME/bin/}java" >/dev/null || echo default-jre-headless
}

# java ARGUMENT...: becomes the Java machine.
java() { become "${JAVA_HOME:+$JAVA_HOME/bin/}java" "$@"; }

# apt_install PACKAGE...: installs them and starts none of the system's services.
apt_install() (
	exec 8>/var/lock/waybill-apt.lock
	flock 8
	policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	apt=(apt-get -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
	install=("${apt[@]}" install --no-install-recommends --no-upgrade "$@")
	# The lists may be missing or too old to fetch by.
	if ! "${install[@]}" >"$log" 2>&1 </dev/null 8>&- &&
		! { "${apt[@]}" update && "${install[@]}"; } >"$log" 2>&1 </dev/null 8>&-; then
		tail -n 30 "$log" >&2
		echo "scripts/services: apt-get could not install $*; all it said: $log" >&2
		exit 1
	fi
	rm -f "$log"
)

# run_maven ARGUMENT...: Maven, tried three times; one at a time, since Maven's own store
# does not bear more.
run_maven() {
	local try
	mkdir -p "$dist" "$server"
	for try in 1 2 3; do
		if flock "$dist/maven.lock" timeout 15m mvn -q -B "$@" >"$server/log" 2>&1 </dev/null 9>&-; then
			return
		fi
		sleep "$try"
	done
	return 1
}

# maven GOAL OPTION...: a goal of the dependency plugin.
maven() {
	local goal=$1
	shift
	run_maven "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:$goal" "$@"
}

# fetch_archive GROUP:ARTIFACT:VERSION DIRECTORY: unpacks the binary distribution.
fetch_archive() {
	local archive work
	[[ ! -d $2 ]] || return 0
	work=$(fetch_begin)
	mkdir "$work/unpacked" &&
		maven copy -Dartifact="$1:tar.gz:bin" -DoutputDirectory="$work" -Dmdep.useBaseVersion=true &&
		archive=("$work"/*.tar.gz) &&
		tar -xzf "${archive[0]}" -C "$work/unpacked" --strip-components=1 --no-same-owner
	fetch_end "$?" "$work" "$2"
}

# fetch_jars DIRECTORY GROUP:ARTIFACT:VERSION...: gathers libraries and all that
# they need to run.
fetch_jars() {
	local directory=$1 work jar group artifact version
	shift
	[[ ! -d $directory ]] || return 0
	work=$(fetch_begin)
	{
		echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
		echo '<groupId>waybill</groupId><artifactId>server</artifactId><version>1</version><packaging>pom</packaging>'
		echo '<dependencies>'
		for jar; do
			IFS=: read -r group artifact version <<<"$jar"
			echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
		done
		echo '</dependencies></project>'
	} >"$work/pom.xml"
	maven copy-dependencies -f "$work/pom.xml" -DincludeScope=runtime -DoutputDirectory="$work/unpacked"
	fetch_end "$?" "$work" "$directory"
}

# What is fetched is made aside and moved into place whole, so that a directory in
# $dist is always complete, whoever else fetches at the same time.
fetch_begin() {
	mkdir -p "$dist"
	mktemp -d "$dist/fetch.XXXXXX"
}

fetch_end() { # STATUS WORK DIRECTORY
	if (($1 == 0)) && [[ ! -d $3 ]]; then
		mv -T "$2/unpacked" "$3" 2>/dev/null || true
	fi
	rm -rf -- "$2"
	[[ -d $3 ]]
}
