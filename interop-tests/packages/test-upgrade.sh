#!/bin/bash
#
# Debian's kxd, kxc and kxgencert in a clean root, a key made with their scripts,
# our packages over them: the same command gives the same key, changed conffiles
# stay, an initramfs image can fetch the key, and a purge leaves the data alone.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root
in_namespaces "$0" "$@"

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'umount -l "$root/proc" "$root/dev" 2> /dev/null; rm -rf --one-file-system "$root"' EXIT
make_root "$root"

in_root() {
	chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 HOSTNAME=client1 \
		DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
# shellcheck disable=SC2016 # dpkg-query and the inner shell expand these
version() { in_root dpkg-query -W -f '${Version}' "$1"; }
key() { in_root kxc-cryptsetup "$1" | sha256sum; }
# Until the port answers, five seconds at most.
await_port() {
	for _ in {1..100}; do
		if (exec 3<> /dev/tcp/127.0.0.1/19840) 2> /dev/null; then return; fi
		sleep 0.05
	done
	cat "$root/var/log/kxd.log" >&2 || :
	die "kxd does not answer"
}
server() { in_root /etc/init.d/kxd "$1" > "$root/tmp/init.log" 2>&1 || die "init.d/kxd $1: $(cat "$root/tmp/init.log")"; }

echo "127.0.0.1 localhost client1" > "$root/etc/hosts"
original=$(version kxd)

# With the original.
in_root create-kxd-config localhost,127.0.0.1 > /dev/null
in_root kxc-add-key localhost disk > /dev/null
in_root kxd-add-client-key client1 disk > /dev/null 2>&1
cp "$root/etc/kxd/cert.pem" "$root/etc/kxc/disk.server_cert.pem"
cp "$root/etc/kxc/cert.pem" "$root/etc/kxd/data/client1/disk/allowed_clients"
echo 'DAEMON_ARGS="-logfile=/var/log/kxd.log"' > "$root/etc/default/kxd"
server start
await_port
before=$(key disk)
[[ $before == "$(sha256sum < "$root/etc/kxd/data/client1/disk/key")" ]] || die "the original gives another key"
truncate -s 32M "$root/tmp/luks"
in_root sh -c 'kxc-cryptsetup disk | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 \
	--pbkdf-force-iterations 1000 --key-file=- /tmp/luks'
ok "the original ($original) serves a key, and a disk is made with it"
chmod 700 "$root/etc/kxd"
state=$(in_root find /etc/kxd /etc/kxc -printf '%p %m %u %s\n' | sort)

# Ours over it.
mkdir "$root/debs"
cp "${debs:?}"/kxd_*.deb "$debs"/kxc_*.deb "$debs"/kxgencert_*.deb "$debs"/libkx*_*.deb "$root/debs/"
in_root sh -c 'dpkg -i --force-confold /debs/*.deb' \
	> "$root/tmp/install.log" 2>&1 || die "install: $(cat "$root/tmp/install.log")"
for package in kxd kxc kxgencert; do
	in_root dpkg --compare-versions "$(version $package)" gt "$original" || die "$package was not upgraded"
	in_root dpkg --compare-versions "$(version $package)" gt 0.17-1 || die "$package is older than Debian 13's"
done
in_root dpkg --audit | grep . > /dev/null && die "dpkg --audit is not content"
ok "our packages ($(version kxd)) upgrade Debian's in place"
[[ $(< "$root/etc/default/kxd") == 'DAEMON_ARGS="-logfile=/var/log/kxd.log"' ]] || die "/etc/default/kxd was changed"
cmp -s "$root/etc/init.d/kxd" "${tree:?}/pkgs/etc/init.d-kxd" || die "/etc/init.d/kxd is not ours"
[[ $state == "$(in_root find /etc/kxd /etc/kxc -printf '%p %m %u %s\n' | sort)" ]] || die "/etc/kxd or /etc/kxc was changed"
ok "the changed /etc/default/kxd is kept, the unchanged init script is new, /etc/kxd and /etc/kxc are as before"
cmp -s "$root/etc/systemd/system/kxd.service.d/50-as-before.conf" "$tree/pkgs/systemd/run-as-root.conf" ||
	die "kxd.service does not go on as root, although there is a log file of its own"
ok "kxd.service goes on as root where flags name a log file"

server restart
await_port
# shellcheck disable=SC2016
exe=$(in_root sh -c 'readlink -f /proc/$(cat /run/kxd.pid)/exe')
[[ $exe == /usr/bin/kxd ]] || die "$exe is running"
in_root sh -c 'kxd -h 2>&1' | grep -e -tls_min > /dev/null || die "this is not our kxd"
[[ $(key disk) == "$before" ]] || die "another key"
in_root sh -c 'kxc-cryptsetup disk | cryptsetup open --test-passphrase --key-file=- /tmp/luks' || die "the key does not open the disk"
ok "the same command gives the same key, and it opens the disk"

# More than one server: the first does not exist.
cp "$root/etc/kxc/disk.server_cert.pem" "$root/etc/kxc/two.server_cert.pem"
printf '%s\n' kxd://127.0.0.1:1/client1/disk kxd://127.0.0.1/client1/disk > "$root/etc/kxc/two.url"
[[ $(key two) == "$before" ]] || die "no key from the second server"
ok "a second line in NAME.url is a server to fall back on"

# The image, as update-initramfs makes it. No kernel is needed for that.
kernel=0.0.0-kx
mkdir -p "$root/lib/modules/$kernel"
touch "$root/lib/modules/$kernel"/modules.{order,builtin,builtin.modinfo}
printf "%s\n" CONFIG_RD_GZIP=y CONFIG_RD_ZSTD=y > "$root/boot/config-$kernel"
echo "root_crypt /tmp/luks disk luks,initramfs,keyscript=/usr/bin/kxc-cryptsetup" > "$root/etc/crypttab"
echo "MODULES=list" > "$root/etc/initramfs-tools/conf.d/test"
echo "kxd://127.0.0.1/client1/disk" > "$root/etc/kxc/disk.url"
in_root depmod "$kernel"
in_root mkinitramfs -o /tmp/initrd "$kernel" > "$root/tmp/mkinitramfs.log" 2>&1 ||
	die "mkinitramfs: $(cat "$root/tmp/mkinitramfs.log")"
[[ $(stat -c %a "$root/tmp/initrd") == 600 ]] || die "the image has mode $(stat -c %a "$root/tmp/initrd")"
in_root unmkinitramfs /tmp/initrd /tmp/image
image=$root/tmp/image
[[ -d $image/main ]] && image=$image/main
in_image() { chroot "$image" /bin/sh -c "PATH=/sbin:/bin:/usr/sbin:/usr/bin; $1"; }
mkdir -p "$image/dev" "$image/proc"
[[ -e $image/dev/null ]] || mknod -m 666 "$image/dev/null" c 1 3
[[ -e $image/dev/urandom ]] || mknod -m 666 "$image/dev/urandom" c 1 9
cmp -s "$image/etc/kxc/key.pem" "$root/etc/kxc/key.pem" || die "the client's key is not in the image"
[[ -x $image/scripts/init-premount/kxc-premount-net ]] || die "kxc-premount-net is not in the image"
in_image 'kxc -h' 2>&1 | grep -e -client_cert > /dev/null || die "kxc does not run in the image: $(in_image 'kxc -h' 2>&1)"
script=$(cd "$image" && find . -name kxc-cryptsetup -type f | head -n 1)
[[ $script ]] || die "the keyscript is not in the image"
[[ $(in_image "$script disk" | sha256sum) == "$before" ]] || die "the image does not get the key"
ok "the initramfs image is for root only, and gets the key"
echo "127.0.0.1 keys" > "$image/etc/hosts"
in_image "kxc -client_cert=/etc/kxc/cert.pem -client_key=/etc/kxc/key.pem -server_cert=/etc/kxc/disk.server_cert.pem kxd://keys/client1/disk" \
	> /dev/null 2> "$root/tmp/name.log" && die "the wrong name is accepted"
grep -q 'not keys' "$root/tmp/name.log" || die "names are not looked up in the image: $(cat "$root/tmp/name.log")"
ok "host names are looked up in the image"

# The user and the capability of kxd.service, with /etc/kxd closed to all but root.
server stop
rm -f "$root/var/log/kxd.log"
in_root getent passwd kxd > /dev/null || die "there is no user kxd"
in_root setpriv --reuid=kxd --regid=kxd --clear-groups --no-new-privs \
	--bounding-set=-all,+dac_read_search --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
	/usr/bin/kxd -logfile=- > "$root/tmp/user.log" 2>&1 &
await_port
[[ $(key disk) == "$before" ]] || die "no key as user kxd: $(cat "$root/tmp/user.log")"
kill $!
wait $! 2> /dev/null || :
ok "as user kxd, the closed /etc/kxd is served"

# Off it goes.
in_root apt-get purge -qq -y kxd kxc kxgencert libkx0 libkx-dev > "$root/tmp/purge.log" 2>&1 ||
	die "purge: $(cat "$root/tmp/purge.log")"
for gone in usr/bin/kxd usr/bin/kxc usr/bin/kxgencert etc/default/kxd etc/init.d/kxd etc/systemd/system/kxd.service.d; do
	[[ -e $root/$gone ]] && die "/$gone is still there"
done
[[ $(sha256sum < "$root/etc/kxd/data/client1/disk/key") == "$before" && -e $root/etc/kxc/key.pem ]] || die "keys were removed"
ok "a purge removes the programs and leaves the keys"
