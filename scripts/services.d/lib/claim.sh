# shellcheck shell=bash disable=SC2034,SC2154 # variables shared with scripts/services
# Whose servers $state tells of. A checkout may be copied together with .services, and the
# processes, links and ports that are named there are the original's.

# claim_state makes $state, and empties one that is a copy: one that names another
# directory in the file "owner". A checkout that was only moved keeps what it has.
claim_state() {
	mkdir -p "$state"
	(
		flock 7
		owner=$(stat -L -c %d:%i "$state")
		if [[ -e $state/owner ]]; then
			[[ $(<"$state/owner") != "$owner" ]] || exit 0
			forget_state
		elif ! made_here; then
			forget_state
		fi
		echo "$owner" >"$state/owner"
	) 7<"$state"
}

# made_here: whether the servers of a $state without "owner", as earlier versions of this
# script left it, were prepared where they are.
made_here() {
	local mark
	for mark in "$state"/*/prepared; do
		[[ ! -e $mark ]] || grep -qF -e " $state/" "$mark" || return 1
	done
}

# forget_state deletes the copy, and nothing that it links to. With it goes the choice of
# ports, and in its place "auto" is chosen.
forget_state() {
	echo "scripts/services: $state was copied from another checkout: its servers are not taken for this one's" >&2
	find "$state/" -mindepth 1 -delete # what it links to stays
	echo auto >"$state/port-base"
}
