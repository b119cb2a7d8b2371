# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# A disk of its own for a server, so that it can be full: a file system in memory, of
# the size WAYBILL_DISK, mounted at the server's files. Mounting is root's alone, and
# not allowed in every container.

has_disk() { mountpoint -q "$home/."; }

# mount_disk puts one over $home, which is empty, and leaves its owner and mode.
mount_disk() {
	local at
	at=$(realpath "$home")
	mount -t tmpfs -o "size=$WAYBILL_DISK,mode=$(stat -c %a "$at"),uid=$(stat -c %u "$at"),gid=$(stat -c %g "$at")" \
		"waybill-$name" "$at" 2>>"$server/log" || fail "could not be given a disk of its own (WAYBILL_DISK=$WAYBILL_DISK), which takes root"
}

# unmount_disk: also where something that is ending still has a file open there.
unmount_disk() {
	! has_disk || umount -l "$(realpath "$home")"
}

fill_server() {
	if ! has_disk; then
		say "has no disk of its own that could be filled: start it with WAYBILL_DISK=512m" >&2
		return 1
	fi
	# Until there is no room for another byte.
	! cat /dev/zero >"$home/ballast" 2>/dev/null
	say "has a full disk"
}

# free_server also starts the server, where a full disk has ended it.
free_server() {
	rm -f "$home/ballast"
	say "has room again"
	start_server
}
