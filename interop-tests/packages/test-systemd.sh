#!/bin/bash
#
# Our units under a real systemd, which runs as the first process of namespaces
# made for it: kxd in its sandbox as user kxd with /etc/kxd closed to all but root,
# reload, a hook, socket activation, and a key through kxc@.socket.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
if ! unshare -Cmpnui --fork true 2> /dev/null; then
	echo "SKIP  test-systemd.sh: no control group namespaces"
	exit 77
fi
fetch_root dracut

root=$(mktemp -d "${cache:?}/root.XXXXXX")
init=
# The outer unshare ends all that runs inside when it is killed.
cleanup() {
	if [[ $init ]]; then kill -9 "$init" 2> /dev/null || :; wait "$init" 2> /dev/null || :; fi
	rm -rf --one-file-system "$root"
}
trap cleanup EXIT
tar -x --numeric-owner -C "$root" -f "$cache/${suite:?}-dracut.tar"
mkdir "$root/debs"
cp "${debs:?}"/kxd_*.deb "$debs"/kxc_*.deb "$debs"/kxgencert_*.deb "$root/debs/"
cat > "$root/start" <<'INSIDE'
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
	--log-target=journal --show-status=0 --unit=multi-user.target
INSIDE
# Nothing that waits for a real network.
ln -s /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"
echo "127.0.0.1 localhost client1" > "$root/etc/hosts"
echo client1 > "$root/etc/hostname"
cd /
unshare -Cmpnui --fork --kill-child sh "$root/start" "$root" > "$root/start.log" 2>&1 &
init=$!
for _ in {1..100}; do
	pid=$(pgrep -P "$init" || :)
	[[ $pid && -S /proc/$pid/root/run/systemd/private ]] && break
	sleep 0.1
done
[[ ${pid-} && -S /proc/$pid/root/run/systemd/private ]] || {
	echo "SKIP  test-systemd.sh: systemd does not start here: $(cat "$root/start.log")"
	exit 77
}
# Into the namespaces and the root of that systemd.
inside() {
	timeout 60 nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd \
		/usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOSTNAME=client1 \
		DEBIAN_FRONTEND=noninteractive "$@"
}
property() { inside systemctl show -P "$1" "$2"; }
key() { inside kxc-cryptsetup disk | sha256sum; }
log() { inside journalctl -q --no-pager -u kxd.service -o cat | tail -n 20; }

inside sh -c 'dpkg -i --force-depends /debs/*.deb' > "$root/install.log" 2>&1 || die "install: $(cat "$root/install.log")"
[[ $(property UnitFileState kxd.service) == enabled ]] || die "kxd.service is not enabled"
[[ $(property UnitFileState kxd.socket) == disabled ]] || die "kxd.socket is enabled"
ok "installed: kxd.service enabled, kxd.socket not"

inside sh -c 'create-kxd-config localhost,127.0.0.1; kxc-add-key localhost disk
	kxd-add-client-key client1 disk
	cp /etc/kxd/cert.pem /etc/kxc/disk.server_cert.pem
	cp /etc/kxc/cert.pem /etc/kxd/data/client1/disk/allowed_clients
	chmod 600 /etc/kxd/data/client1/disk/*
	chmod 700 /etc/kxd /etc/kxd/data' > /dev/null 2>&1
want=$(sha256sum < "$root/etc/kxd/data/client1/disk/key")
inside systemctl restart kxd || die "kxd.service does not start: $(log)"
main=$(property MainPID kxd.service)
[[ $(inside sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$main/status") == "$(inside id -u kxd)" ]] || die "kxd does not run as kxd"
[[ $(key) == "$want" ]] || die "no key: $(log)"
ok "kxd runs as user kxd in its sandbox and serves the closed /etc/kxd"
log | grep -q 'Allowing request' || die "the log did not come by /dev/log: $(log)"
ok "its log comes by syslog"

inside systemctl reload kxd || die "no reload"
[[ $(property MainPID kxd.service) == "$main" && $(key) == "$want" ]] || die "the reload did harm: $(log)"
ok "reload: the same process goes on"

# What a hook sees.
printf '%s\n' '#!/bin/sh' 'echo hook > /var/log/kxd/hook || exit 3' 'echo x > /etc/kxd/x && exit 4' 'exit 0' > "$root/etc/kxd/hook"
chmod 755 "$root/etc/kxd/hook"
[[ $(key) == "$want" ]] || die "the hook refused: $(log)"
[[ $(inside cat /var/log/kxd/hook) == hook && ! -e $root/etc/kxd/x ]] || die "the hook wrote where it should not"
ok "a hook runs, writes to /var/log/kxd, and nowhere else"
rm "$root/etc/kxd/hook"

inside systemctl disable --now kxd.service 2> /dev/null
inside systemctl start kxd.socket
[[ $(property ActiveState kxd.service) == inactive ]] || die "kxd runs already"
[[ $(key) == "$want" && $(property ActiveState kxd.service) == active ]] || die "kxd.socket does not start kxd: $(log)"
ok "kxd.socket starts kxd with the first request"

# systemd-cryptsetup opens a disk only with a kernel that has dm-crypt, so a
# process of the same command line asks.
inside systemctl start kxc@disk.socket
[[ $(inside stat -c %a /run/kxc/disk) == 600 ]] || die "others can ask the socket"
cat > "$root/ask" <<'ASK'
use Socket;
socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die $!;
connect($s, pack_sockaddr_un("/run/kxc/disk")) or die $!;
print while <$s>;
ASK
got=$(inside perl /ask attach data /dev/sda3 /run/kxc/disk luks,_netdev | sha256sum)
[[ $got == "$want" ]] || die "kxc@disk.socket: $(inside journalctl -q --no-pager -u 'kxc@*' -o cat | tail -n 20)"
ok "kxc@disk.socket answers with the key"

inside sh -c 'mkdir -p /etc/systemd/system/kxd.service.d
	cp /usr/share/kxd/run-as-root.conf /etc/systemd/system/kxd.service.d/
	systemctl daemon-reload; systemctl stop kxd.socket kxd.service; systemctl start kxd.service' 2> /dev/null || die "not as root: $(log)"
main=$(property MainPID kxd.service)
[[ $(inside sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$main/status") == 0 && $(key) == "$want" ]] || die "not as root: $(log)"
ok "the drop-in run-as-root.conf works"
