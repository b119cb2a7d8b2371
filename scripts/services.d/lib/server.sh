# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# What can be done with one server.

# load NAME: makes NAME the server that the functions here work on.
load() {
	name=$1
	server=$state/$name # pid, ports, env, log
	home=$server/home   # the server's own files
	layout=1            # of these files; those of another layout are made anew
	run_as=             # system user, for servers that refuse to run as root
	stop_signal=TERM
	full_at=0    # bytes free at which its disk is full
	recovers=yes # by itself, from a full disk
	# shellcheck source=/dev/null
	. "$here/services.d/$name.sh"
	load_ports
}

# say DETAIL...: the one line about the server.
say() { printf '%-9s %s\n' "$name" "$*"; }

start_server() {
	local begun=$EPOCHREALTIME
	if alive; then
		wait_until_ready
		say "already runs on $(show_ports)"
		return
	fi
	kill_helper
	check_ports
	fetch
	prepare
	: >"$server/env"
	launch
	wait_until_ready
	{ server_addresses && echo "${name^^}_VERSION=$(server_version)"; } >"$server/env"
	say "ready on $(show_ports) after $(seconds_since "$begun") s ($(server_version))"
}

# fetch: only some servers have files that are in no package.
fetch() { ! declare -F server_fetch >/dev/null || server_fetch; }

# prepare makes $home, anew where it is half made, of another layout, was moved, or is
# not on the disk that it should be on.
prepare() {
	local mark="$layout $server ${WAYBILL_DISK:-}"
	if [[ $(cat "$server/prepared" 2>/dev/null) == "$mark" ]] && { [[ ! ${WAYBILL_DISK:-} ]] || has_disk; }; then
		return
	fi
	wipe_files
	make_home
	# In the background, since "set -e" is off within "( ... ) || fail".
	(
		exec 6>&- 9>&-
		cd -P "$home" || exit
		server_prepare
	) >"$server/log" 2>&1 </dev/null &
	wait "$!" || fail "could not make its data directory"
	echo "$mark" >"$server/prepared"
}

stop_server() {
	if ! alive; then
		kill_helper
		say "is not running"
		return
	fi
	terminate
	say "stopped"
}

# kill_server: one that has ended by itself is as dead as it was to be, and says why.
kill_server() {
	if ! alive; then
		say "is not running; the end of its log:"
		tail -n 30 "$server/log" 2>/dev/null | sed 's/^/  | /'
		return
	fi
	kill_tree
	say "killed"
}

wipe_server() {
	if alive; then
		say "runs; stop it first" >&2
		return 1
	fi
	kill_helper
	wipe_files
	say "wiped"
}

install_server() {
	fetch
	say "installed ($(server_version))"
}

status_server() {
	if ! alive; then
		say "stopped"
	elif server_ready; then
		say "running on $(show_ports), process $(pid)"
	else
		say "running but not answering on $(show_ports), process $(pid)"
	fi
}
