#!/bin/sh
# What the tests need beside the compiler:
# - the packages of packages.txt that are missing are installed (as root; otherwise named);
# - Debian's own kxd, kxc and kxgencert are unpacked into target/peers, not installed.
# Tests whose peer is missing afterwards say so and are skipped (see SKIPS.md).
#
#   interop-tests/peers.sh                both
#   interop-tests/peers.sh --unpack-only  the second
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
peers=$target/peers
mkdir -p "$peers"

if ! command -v apt-get >/dev/null; then
	echo "peers.sh: no apt-get here: install what packages.txt names by hand," \
		"and set KX_REF_KXD to a directory with the original" >&2
	exit 0
fi

if [ "${1:-}" != --unpack-only ]; then
	# shellcheck disable=SC2046 # one word per package
	"$here/install.sh" $(sed 's/#.*//' "$here/packages.txt")
fi

# From the archive and not from what is installed: our packages have the same names.
if [ ! -x "$peers/kxd/usr/bin/kxd" ]; then
	stage=$(mktemp -d "$peers/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	chmod 755 "$stage" # apt's download user looks into it
	# A new machine has no list of what there is.
	apt-cache show kxd >/dev/null 2>&1 || apt-get update -qq || true
	if (cd "$stage" && apt-get download kxd kxc kxgencert >/dev/null 2>"$stage/err"); then
		for deb in "$stage"/*.deb; do
			dpkg -x "$deb" "$stage/kxd"
		done
		rm -rf "$peers/kxd"
		mv "$stage/kxd" "$peers/kxd"
	else
		echo "peers.sh: apt-get download kxd failed; live tests against it are skipped:" >&2
		tail -n 2 "$stage/err" >&2
	fi
fi
if [ -x "$peers/kxd/usr/bin/kxd" ]; then
	echo "original kxd: $peers/kxd/usr/bin"
fi
