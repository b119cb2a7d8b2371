# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# Processes of the servers: who runs, starting, stopping, killing.
#
# $server/pid holds the server's process id and its start time, so that a process
# that got the id later is never taken for the server.

pid() { cut -d' ' -f1 "$server/pid"; }

# started PID: when the process began, in ticks since the machine did; fails where
# there is no such process or only its zombie. While other threads of a zombie are
# ending, its sockets are still open.
started() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# After the command's name in parentheses: the state, 17 fields on the number of
	# threads, and 2 more on the start.
	# shellcheck disable=SC2086
	set -- ${stat##*) }
	[[ $1 != Z || ${18} -gt 1 ]] && echo "${20}"
}

# same "PID START": whether that very process is still there.
same() { [[ $(started "${1% *}") == "${1#* }" ]]; }

alive() {
	local mark
	mark=$(cat "$server/pid" 2>/dev/null) && [[ $mark ]] && same "$mark"
}

# tree PID: "PID START" of the process and of all that it began.
tree() {
	local start child
	start=$(started "$1") || return 0
	echo "$1 $start"
	# shellcheck disable=SC2013 # each line is one number
	for child in $(sed -n "s/^\([0-9]*\) (.*) . $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null); do
		tree "$child"
	done
}

# launch: the server in the background, in a session of its own, with a new log.
launch() {
	[[ ! -e $server/log ]] || mv "$server/log" "$server/log.1"
	save_ports
	(
		exec 6>&- 9>&-
		cd -P "$home" || exit
		server_run
	) >"$server/log" 2>&1 </dev/null &
	echo "$! $(started "$!")" >"$server/pid"
	disown
}

# become COMMAND...: for server_run, to end with. The process stays the same.
become() {
	[[ ! $run_as ]] || set -- setpriv --reuid="$run_as" --regid="$(id -g "$run_as")" --clear-groups -- "$@"
	exec setsid "$@"
}

# wait_until_ready: until the server answers, ends, or has taken too long.
wait_until_ready() {
	local deadline=$((SECONDS + ${WAYBILL_START_TIMEOUT:-300}))
	until server_ready; do
		alive || fail "ended instead of starting"
		if ((SECONDS >= deadline)); then
			kill_tree
			fail "did not answer within ${WAYBILL_START_TIMEOUT:-300} s and was killed"
		fi
		sleep 0.2
	done
	# Another program may have answered at the port.
	alive || fail "ended instead of starting"
}

# fail REASON: the line about the server, the end of its log, and out.
fail() {
	{
		say "$1; the end of $server/log:"
		tail -n 30 "$server/log" 2>/dev/null | sed 's/^/  | /'
	} >&2
	exit 1
}

# terminate: asks the server to end; what is left after a while is killed.
terminate() {
	local deadline=$((SECONDS + ${WAYBILL_STOP_TIMEOUT:-60})) process
	local -a processes
	mapfile -t processes < <(tree "$(pid)")
	kill -s "$stop_signal" "$(pid)" 2>/dev/null || true
	while alive; do
		if ((SECONDS >= deadline)); then
			say "did not stop within ${WAYBILL_STOP_TIMEOUT:-60} s and is killed" >&2
			break
		fi
		sleep 0.1
	done
	kill_processes "${processes[@]}"
	rm -f "$server/pid"
}

kill_tree() {
	local -a processes
	# It must not begin another process once they have been listed: one that is left
	# may keep the server from starting again.
	kill -STOP "$(pid)" 2>/dev/null || true
	mapfile -t processes < <(tree "$(pid)")
	kill_processes "${processes[@]}"
	rm -f "$server/pid"
}

# kill_helper: a process that the server began, "PID START" in $server/helper, and that
# has outlived it.
kill_helper() {
	[[ ! -e $server/helper ]] || kill_processes "$(cat "$server/helper")"
	rm -f "$server/helper"
}

# kill_processes "PID START"...: all at once, and waits until they are gone, which one that
# waits for its disk is not soon.
kill_processes() {
	local process deadline=$((SECONDS + ${WAYBILL_STOP_TIMEOUT:-60}))
	local -a left=()
	for process; do
		! same "$process" || left+=("${process% *}")
	done
	((${#left[@]})) || return 0
	kill -KILL "${left[@]}" 2>/dev/null || true
	for process; do
		while same "$process"; do
			((SECONDS < deadline)) || fail "is not gone ${WAYBILL_STOP_TIMEOUT:-60} s after it was killed (process ${process% *})"
			sleep 0.05
		done
	done
}

# unprivileged NAME...: the first of these system users, for a server that refuses
# to run as root; nothing when not root.
unprivileged() {
	local candidate
	((EUID == 0)) || return 0
	for candidate; do
		if id -u "$candidate" >/dev/null 2>&1; then
			echo "$candidate"
			return
		fi
	done
}

# as_server COMMAND...: runs it as the user that the server runs as.
as_server() {
	[[ ! $run_as ]] || set -- setpriv --reuid="$run_as" --regid="$(id -g "$run_as")" --clear-groups -- "$@"
	"$@"
}

# make_home makes $home. Where the server runs as the user $run_as, who may not be
# allowed into the checkout, as below /root, $home becomes a link to a directory
# that this user can reach.
make_home() {
	mkdir -p "$server"
	if [[ ! $run_as ]]; then
		mkdir "$home"
	elif as_server test -x "$server"; then
		install -d -m 700 -o "$run_as" "$home"
	else
		local elsewhere
		elsewhere=$(mktemp -d "/var/tmp/waybill-$name.XXXXXX")
		chown "$run_as" "$elsewhere"
		ln -s "$elsewhere" "$home"
	fi
	[[ ! ${WAYBILL_DISK:-} ]] || mount_disk
}

# wipe_files deletes all that the server has, also what $home links to.
wipe_files() {
	unmount_disk
	if [[ -L $home ]]; then
		rm -rf -- "$(readlink "$home")"
	fi
	rm -rf -- "$server"
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }
