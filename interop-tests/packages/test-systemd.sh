#!/bin/bash
#
# Our units under a real systemd, which runs as the first process of namespaces
# made for it: kxd in its sandbox as user kxd with /etc/kxd closed to all but root,
# reload, a hook, socket activation, and a key through kxc@.socket.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root dracut

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'stop_root "$root"' EXIT
boot_root "$root" dracut
mkdir "$root/debs"
cp "${debs:?}"/kxd_*.deb "$debs"/kxc_*.deb "$debs"/kxgencert_*.deb "$root/debs/"
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
log | grep 'Allowing request' > /dev/null || die "the log did not come by /dev/log: $(log)"
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
