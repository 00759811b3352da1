#!/bin/sh
# What the tests need beside the compiler:
# - the packages of packages.txt that are missing are installed (as root; otherwise named);
# - Debian's own kxd, kxc and kxgencert, strongSwan and libreswan are unpacked into target/peers, not installed.
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

# Unpacks Debian packages into $peers/NAME, unless PROGRAM is there already:
#   unpack NAME PROGRAM PACKAGE...
unpack() {
	name=$1 program=$2
	shift 2
	if [ ! -x "$peers/$name/$program" ]; then
		stage=$(mktemp -d "$peers/stage.XXXXXX")
		trap 'rm -rf "$stage"' EXIT
		chmod 755 "$stage" # apt's download user looks into it
		# A new machine has no list of what there is.
		apt-cache show "$1" >/dev/null 2>&1 || apt-get update -qq || true
		if (cd "$stage" && apt-get download "$@" >/dev/null 2>"$stage/err"); then
			for deb in "$stage"/*.deb; do
				dpkg -x "$deb" "$stage/$name"
			done
			rm -rf "${peers:?}/$name"
			mv "$stage/$name" "$peers/$name"
		else
			echo "peers.sh: apt-get download $1 failed; live tests against it are skipped:" >&2
			tail -n 2 "$stage/err" >&2
		fi
		rm -rf "$stage"
	fi
	if [ -x "$peers/$name/$program" ]; then
		echo "$name: $peers/$name"
	fi
}

# From the archive and not from what is installed: our packages have the same names.
unpack kxd usr/bin/kxd kxd kxc kxgencert
# Not installed: the two exclude each other, and a service on port 500 must not start. Each test lays what is
# unpacked over the /usr that its daemon sees.
unpack strongswan usr/lib/ipsec/charon strongswan-charon strongswan-libcharon strongswan-swanctl libstrongswan \
	libstrongswan-standard-plugins libstrongswan-extra-plugins libcharon-extra-plugins
unpack libreswan usr/libexec/ipsec/pluto libreswan
