# shellcheck shell=bash
# A clean Debian root for package tests: sourced by the tests beside it.
#
# need_root            skips (exit 77) unless we are root and can make namespaces
# in_namespaces "$@"   runs the script again in mount, process and network
#                      namespaces of its own: what it starts ends with it, and
#                      port 19840 is free
# fetch_root, make_root  a Debian 12, downloaded once and kept in
#                      target/package-tests
# ok TEXT, die TEXT    one line for each thing that was seen

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$tree/target/package-tests
# shellcheck disable=SC2034 # for the tests
debs=${KX_DEBS:-$tree/target/deb}
suite=${KX_SUITE:-bookworm}

ok() { printf 'ok    %s\n' "$*"; }
die() {
	printf 'FAIL  %s\n' "$*" >&2
	exit 1
}

need_root() {
	if [[ $(id -u) != 0 ]] || ! unshare -mpn --fork true 2> /dev/null; then
		echo "SKIP  $(basename "$0"): needs root and namespaces"
		exit 77
	fi
}

in_namespaces() {
	[[ ${KX_IN_NAMESPACES-} ]] && return
	KX_IN_NAMESPACES=1 exec unshare -mpn --fork --kill-child "$@"
}

# make_root DIR [KIND]
make_root() {
	local tar=$cache/$suite-${2:-original}.tar
	mkdir -p "$1"
	tar -x --numeric-owner -C "$1" -f "$tar"
	mount -t proc proc "$1/proc"
	mount --bind /dev "$1/dev"
	ip link set lo up
}

# fetch_root [KIND]: original, with the packages we replace, or dracut. Downloads,
# so this is for before in_namespaces.
fetch_root() {
	local tar=$cache/$suite-${1:-original}.tar packages
	[[ -s $tar ]] && return
	case ${1:-original} in
	original)
		packages=kxd,kxc,kxgencert,cryptsetup-bin,cryptsetup-initramfs,initramfs-tools
		packages+=,systemd-standalone-sysusers,libssl3,zstd
		;;
	dracut)
		packages=dracut-core,dracut-network,systemd,systemd-sysv,cryptsetup-bin,kmod
		packages+=,libssl3,zstd,iproute2,udev,dbus
		;;
	esac
	mkdir -p "$cache"
	command -v mmdebstrap > /dev/null || die "mmdebstrap is not installed"
	echo "..    downloading a root of Debian $suite, once"
	mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$tar.part.tar" ||
		die "mmdebstrap failed"
	mv "$tar.part.tar" "$tar"
}
