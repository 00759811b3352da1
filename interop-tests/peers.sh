#!/bin/sh
# Fetches the foreign programs that the tests talk to, into target/peers; nothing of it is
# installed or kept in the repository.
#
#   interop-tests/peers.sh             unpack Debian's kxd, kxc, kxgencert
#   interop-tests/peers.sh --install   also install the packages of packages.txt (root)
#
# Tests whose peer is missing afterwards say so and are skipped (see SKIPS.md).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
peers=$target/peers
mkdir -p "$peers"

if [ "${1:-}" = --install ]; then
	# shellcheck disable=SC2046 # one word per package
	apt-get install -y --no-install-recommends $(grep -v '^#' "$here/packages.txt")
fi

# Debian's own builds, by their own archive; ours have the same package names but another
# version, so ask for the archive's candidate and not for what is installed.
if [ ! -x "$peers/kxd/usr/bin/kxd" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "peers.sh: no apt-get here; set KX_REF_KXD to a directory with the original" >&2
		exit 0
	fi
	stage=$(mktemp -d "$peers/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	chmod 755 "$stage" # apt's download user looks into it
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
