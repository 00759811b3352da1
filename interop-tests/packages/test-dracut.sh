#!/bin/bash
#
# A dracut image with kxc in it: client, libraries, configuration, socket and the
# line of crypttab.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root dracut
in_namespaces "$0" "$@"

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'umount -l "$root"/{run,sys,proc,dev} 2> /dev/null; rm -rf --one-file-system "$root"' EXIT
make_root "$root" dracut
# Without these dracut takes the machine for a foreign one.
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
cp "${debs:?}"/kxc_*.deb "$root/tmp/kxc.deb"
# What it depends on is for the running system.
in_root dpkg -i --force-depends /tmp/kxc.deb > /dev/null 2>&1 || die "kxc cannot be installed"
image() {
	in_root dracut --no-kernel --hostonly --no-hostonly-cmdline --force --no-hostonly-i18n \
		--keep --tmpdir /tmp/keep /tmp/image 0.0.0-kx > "$root/tmp/log" 2>&1 || die "dracut: $(cat "$root/tmp/log")"
}

mkdir -p "$root/tmp/keep"
image
grep -q 'Including module: kxc' "$root/tmp/log" && die "kxc is in the image of a machine without /etc/kxc"
ok "without /etc/kxc the module stays out"

mkdir -p "$root/etc/kxc"
echo cert > "$root/etc/kxc/cert.pem"
echo "root_crypt UUID=01234567-89ab-cdef-0123-456789abcdef /run/kxc/disk luks,force,_netdev" > "$root/etc/crypttab"
rm -rf "$root"/tmp/keep/*
image
grep -q 'Including module: kxc' "$root/tmp/log" || die "kxc is not in the image: $(cat "$root/tmp/log")"
in_image=$(echo "$root"/tmp/keep/dracut.*/initramfs)
for file in usr/bin/kxc usr/bin/kxc-cryptsetup usr/libexec/kxc/kxc-answer-socket etc/kxc/cert.pem; do
	[[ -e $in_image/$file ]] || die "$file is not in the image"
done
grep -q '^hosts:.*dns' "$in_image/etc/nsswitch.conf" || die "no host names in the image"
grep -q '^root_crypt .* /run/kxc/disk ' "$in_image/etc/crypttab" || die "crypttab is not in the image"
grep -qx rd.neednet=1 "$in_image/etc/cmdline.d/95kxc.conf" || die "the image does not bring the network up"
socket=$(readlink "$in_image/etc/systemd/system/sockets.target.wants/kxc@disk.socket") || die "no socket is enabled in the image"
[[ -e $in_image$socket ]] || die "$socket is not in the image"
ok "with /etc/kxc: client, configuration, network, socket and crypttab are in the image"
[[ $(stat -c %a "$root/tmp/image") == 600 ]] || die "everybody can read the image"
chroot "$in_image" /usr/bin/kxc -h 2>&1 | grep -e -client_cert > /dev/null || die "kxc does not run in the image"
ok "kxc runs in the image"
