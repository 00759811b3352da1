# shellcheck shell=bash
# A clean Debian root for package tests: sourced by the tests beside it.
#
# need_root            skips (exit 77) unless we are root and can make namespaces
# in_namespaces "$@"   runs the script again in mount, process and network
#                      namespaces of its own: what it starts ends with it, and
#                      port 19840 is free
# fetch_root, make_root  a Debian 12, downloaded once and kept in
#                      target/package-tests
# boot_root DIR        the same with systemd running in it, in namespaces of its own;
# inside "$@"          runs a command there, and stop_root DIR ends it
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

# fetch_root [KIND]: original, with the packages we replace, dracut, or tcpcrypt,
# with a compiler. Downloads, so this is for before in_namespaces.
fetch_root() {
	local tar=$cache/$suite-${1:-original}.tar packages
	[[ -s $tar ]] && return
	case ${1:-original} in
	original)
		packages=kxd,kxc,kxgencert,cryptsetup-bin,cryptsetup-initramfs,initramfs-tools
		packages+=,systemd-standalone-sysusers,libssl3,libpcsclite1,zstd
		;;
	dracut)
		packages=dracut-core,dracut-network,systemd,systemd-sysv,cryptsetup-bin,kmod
		packages+=,libssl3,zstd,iproute2,udev,dbus
		;;
	tcpcrypt)
		packages=systemd,systemd-sysv,dbus,iptables,nftables,iproute2,procps,man-db
		packages+=,gcc,libc6-dev,libssl-dev,pkg-config
		;;
	esac
	mkdir -p "$cache"
	command -v mmdebstrap > /dev/null || die "mmdebstrap is not installed"
	echo "..    downloading a root of Debian $suite, once"
	mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$tar.part.tar" ||
		die "mmdebstrap failed"
	mv "$tar.part.tar" "$tar"
}

# What runs inside those namespaces as the first process.
# shellcheck disable=SC2016 # it is for the shell inside
boot_script='
set -e
# A root that is a mount of its own, as the sandboxes of services need it.
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/dev"
for node in null zero full random urandom tty; do
	touch "$1/dev/$node"
	mount --bind "/dev/$node" "$1/dev/$node"
done
mkdir "$1/dev/shm" "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ip link set lo up
cd "$1"
mkdir -p before
pivot_root . before
cd /
umount -l before
exec env -i container=kx PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
	--log-target=journal --show-status=0 --unit=multi-user.target'

# boot_root DIR [KIND]: skips (exit 77) where systemd cannot run.
boot_root() {
	if ! unshare -Cmpnui --fork true 2> /dev/null; then
		echo "SKIP  $(basename "$0"): no control group namespaces"
		exit 77
	fi
	tar -x --numeric-owner -C "$1" -f "$cache/$suite-${2:-original}.tar"
	# Nothing that waits for a real network.
	ln -s /dev/null "$1/etc/systemd/system/systemd-networkd-wait-online.service"
	echo "127.0.0.1 localhost client1" > "$1/etc/hosts"
	echo client1 > "$1/etc/hostname"
	echo "$boot_script" > "$1/start"
	cd /
	unshare -Cmpnui --fork --kill-child sh "$1/start" "$1" > "$1/start.log" 2>&1 &
	init=$!
	for _ in {1..100}; do
		pid=$(pgrep -P "$init" || :)
		[[ $pid && -S /proc/$pid/root/run/systemd/private ]] && return
		sleep 0.1
	done
	echo "SKIP  $(basename "$0"): systemd does not start here: $(cat "$1/start.log")"
	exit 77
}

# Into the namespaces and the root of that systemd.
inside() {
	timeout 60 nsenter --target "${pid:?}" --mount --uts --ipc --net --pid --cgroup --root --wd \
		/usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOSTNAME=client1 \
		DEBIAN_FRONTEND=noninteractive "$@"
}
property() { inside systemctl show -P "$1" "$2"; }

# The outer unshare ends all that runs inside when it is killed.
stop_root() {
	if [[ ${init-} ]]; then
		kill -9 "$init" 2> /dev/null || :
		wait "$init" 2> /dev/null || :
	fi
	rm -rf --one-file-system "$1"
}
