# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# A disk of its own for a server, so that it can be full: a file system in memory, of
# the size WAYBILL_DISK, mounted at the server's files. Mounting is root's alone, and
# not allowed in every container.

has_disk() { mountpoint -q "$home/."; }

# mount_disk puts one over $home, which is empty, with the same owner and mode.
mount_disk() {
	local at
	at=$(realpath "$home")
	mount -t tmpfs -o "size=$WAYBILL_DISK,mode=$(stat -c %a "$at"),uid=$(stat -c %u "$at"),gid=$(stat -c %g "$at")" \
		"waybill-$name" "$at" 2>>"$server/log" || fail "could not be given a disk of its own (WAYBILL_DISK=$WAYBILL_DISK), which takes root"
}

# unmount_disk unmounts it, also where something that is ending still has a file open
# there.
unmount_disk() {
	! has_disk || umount -l "$(realpath "$home")"
}

# log_says TEXT [OTHER]: whether the server's log says TEXT, and not the other one after
# it, which takes it back.
log_says() {
	grep -m 1 -F -e "$1" ${2:+-e "$2"} <(tac "$server/log") | grep -q -F -e "$1"
}

room() { echo $(($(stat -f -c '%a * %S' "$home/.") - full_at)); }

# fill_room takes what room there is on the server's disk, or less where the server writes
# meanwhile.
fill_room() {
	local room
	room=$(room)
	((room <= 0)) || fallocate -o "$(stat -c %s "$home/filler" 2>/dev/null || echo 0)" -l "$room" "$home/filler" 2>/dev/null ||
		head -c "$room" /dev/zero >>"$home/filler" 2>/dev/null || true
}

# fill_server fills the server's disk and waits until it notices. What it gives back
# meanwhile, as old parts of a journal, is filled again.
fill_server() {
	if ! has_disk; then
		say "has no disk of its own that could be filled: start it with WAYBILL_DISK=512m" >&2
		return 1
	fi
	local deadline=$((SECONDS + 30))
	fill_room
	while declare -F server_is_full >/dev/null && alive && ! server_is_full; do
		if ((SECONDS >= deadline)); then # nobody has it write: who would may wait for another disk
			(($(room) < 1 << 20)) || fail "has a disk that could not be filled: $(room) bytes are left"
			say "has a full disk, and has not noticed in 30 s"
			return
		fi
		sleep 0.1
		fill_room
	done
	say "has a full disk"
}

# free_server also starts the server, where a full disk has ended it, and restarts one
# that would not recover from that by itself.
free_server() {
	rm -f "$home/filler"
	say "has room again"
	if [[ ! $recovers ]] && alive; then
		kill_tree # it may not stop when it is asked to
	fi
	start_server
}
