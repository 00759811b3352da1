#!/bin/bash
#
# Every path in every package, and nothing else: what other packages, scripts and
# administrators count on. No root is needed. Missing packages are a failure,
# except that either kind may be left out by KX_FORMATS=deb or KX_FORMATS=rpm.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

tree=${tree:?}
rpms=${KX_RPMS:-$tree/target/rpm}
formats=${KX_FORMATS:-deb rpm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A path per line, with % for the architecture's library directory and @ for that
# of systemd's units.
kxd='/usr/bin/create-kxd-config /usr/bin/kxd /usr/bin/kxd-add-client-key /etc/default/kxd
@/kxd.service @/kxd.socket /usr/lib/sysusers.d/kxd.conf /usr/share/kxd/run-as-root.conf
/usr/share/doc/kxd/README.Debian /usr/share/doc/kxd/coming-from-kxd.md /usr/share/doc/kxd/examples/hook
/usr/share/man/man1/create-kxd-config.1 /usr/share/man/man1/kxd-add-client-key.1 /usr/share/man/man1/kxd.1'
kxc='/usr/bin/kxc /usr/bin/kxc-add-key /usr/bin/kxc-cryptsetup @/kxc@.service @/kxc@.socket
/usr/libexec/kxc/kxc-answer-socket
/usr/lib/dracut/modules.d/95kxc/kxc-unlock.sh /usr/lib/dracut/modules.d/95kxc/module-setup.sh
/usr/share/initramfs-tools/conf-hooks.d/kxc /usr/share/initramfs-tools/hooks/kxc
/usr/share/initramfs-tools/scripts/init-premount/kxc-premount-net
/usr/share/doc/kxc/README.Debian /usr/share/doc/kxc/README.md /usr/share/doc/kxc/coming-from-kxd.md
/usr/share/doc/kxc/cryptsetup.README /usr/share/doc/kxc/quick_start.md
/usr/share/man/man1/kxc-add-key.1 /usr/share/man/man1/kxc-cryptsetup.1 /usr/share/man/man1/kxc.1'
kxgencert='/usr/bin/kxgencert /usr/share/man/man1/kxgencert.1'
library='%/libkx.so.0 %/libkx.so.0.1.0'
devel='/usr/include/kx.h %/libkx.a %/libkx.so %/pkgconfig/kx.pc'
tcpcryptd='/usr/bin/tcpcryptd /usr/bin/tcnetstat /usr/bin/tcs /etc/default/tcpcryptd @/tcpcryptd.service
/usr/lib/sysusers.d/tcpcryptd.conf /usr/lib/tmpfiles.d/tcpcryptd.conf
/usr/share/tcpcryptd/iptables.sh /usr/share/tcpcryptd/launch_tcpcryptd.sh
/usr/share/doc/tcpcryptd/tcpcrypt.md
/usr/share/doc/tcpcryptd/examples/tcpcrypt/connection.c /usr/share/doc/tcpcryptd/examples/tcpcrypt/connection.h
/usr/share/doc/tcpcryptd/examples/tcpcrypt/connection.rs /usr/share/doc/tcpcryptd/examples/tcpcrypt/key.c
/usr/share/doc/tcpcryptd/examples/tcpcrypt/key.rs /usr/share/doc/tcpcryptd/examples/tcpcrypt/password.c
/usr/share/doc/tcpcryptd/examples/tcpcrypt/password.rs
/usr/share/man/man8/tcpcryptd.8 /usr/share/man/man8/tcnetstat.8 /usr/share/man/man8/tcs.8'
vcard='/usr/bin/kx-vcard /usr/share/man/man8/kx-vcard.8'
inferno='/usr/bin/inferno-auth /etc/default/inferno-auth /usr/lib/sysusers.d/inferno-auth.conf
@/inferno-keyfs.service @/inferno-keysrv.socket @/inferno-keysrv@.service @/inferno-logind.socket
@/inferno-logind@.service @/svc-auth.service /usr/share/doc/inferno-auth/README.Debian
/usr/libexec/inferno-auth/keysrv /usr/libexec/inferno-auth/keyfs /usr/libexec/inferno-auth/passwd
/usr/libexec/inferno-auth/logind /usr/libexec/inferno-auth/createsignerkey /usr/libexec/inferno-auth/mkauthinfo
/usr/libexec/inferno-auth/getauthinfo /usr/libexec/inferno-auth/changelogin /usr/libexec/inferno-auth/convpasswd
/usr/libexec/inferno-auth/getpk /usr/libexec/inferno-auth/ai2key /usr/libexec/inferno-auth/signer
/usr/libexec/inferno-auth/countersigner /usr/libexec/inferno-auth/verify /usr/libexec/inferno-auth/listen
/usr/libexec/inferno-auth/svc-auth
/usr/share/man/man1/inferno-auth-passwd.1 /usr/share/man/man1/inferno-auth-getauthinfo.1
/usr/share/man/man8/inferno-auth.8 /usr/share/man/man8/inferno-auth-svc-auth.8
/usr/share/man/man8/inferno-auth-listen.8 /usr/share/man/man8/inferno-auth-keysrv.8
/usr/share/man/man8/inferno-auth-logind.8 /usr/share/man/man8/inferno-auth-keyfs.8
/usr/share/man/man8/inferno-auth-changelogin.8 /usr/share/man/man8/inferno-auth-convpasswd.8
/usr/share/man/man8/inferno-auth-createsignerkey.8 /usr/share/man/man8/inferno-auth-mkauthinfo.8
/usr/share/man/man8/inferno-auth-getpk.8 /usr/share/man/man8/inferno-auth-ai2key.8
/usr/share/man/man8/inferno-auth-signer.8 /usr/share/man/man8/inferno-auth-countersigner.8
/usr/share/man/man8/inferno-auth-verify.8'
isakmpd='/usr/sbin/isakmpd /usr/sbin/certpatch /usr/bin/keynote /etc/default/isakmpd @/isakmpd.service
/usr/lib/sysusers.d/isakmpd.conf /usr/lib/tmpfiles.d/isakmpd.conf /usr/share/doc/isakmpd/README.Debian
/usr/share/man/man1/keynote.1 /usr/share/man/man5/isakmpd.conf.5 /usr/share/man/man5/isakmpd.policy.5
/usr/share/man/man8/certpatch.8 /usr/share/man/man8/isakmpd.8'
isakmpd_directories=
for name in '' ca/ certs/ crls/ keynote/ private/ pubkeys/ pubkeys/fqdn/ pubkeys/ipv4/ pubkeys/ipv6/ pubkeys/ufqdn/; do
	mode=drwxr-xr-x
	[[ $name == private/ ]] && mode=drwx------
	isakmpd_directories+="$mode ./etc/isakmpd/$name "
done
for sample in "${tree:?}"/isakmpd-compat/isakmpd/samples/*/*; do
	isakmpd+=" /usr/share/doc/isakmpd/examples/${sample#*/samples/}"
done
hsm='/usr/bin/kx-hsm /usr/bin/kx-sc-hsm-tool /usr/libexec/kx-hsm/sc-hsm-tool /usr/share/doc/kx-hsm/xkek.md
/usr/share/man/man1/kx-hsm.1 /usr/share/man/man1/kx-sc-hsm-tool.1 /usr/share/man/man7/kx-hsm.7'
libtcpcrypt='%/libtcpcrypt.so.0 %/libtcpcrypt.so.0.0.0'
libtcpcrypt_devel='/usr/include/tcpcrypt/tcpcrypt.h %/libtcpcrypt.a %/libtcpcrypt.so %/pkgconfig/tcpcrypt.pc
/usr/share/man/man3/tcpcrypt.3 /usr/share/man/man3/tcpcrypt_getsessid.3 /usr/share/man/man3/tcpcrypt_getsockopt.3
/usr/share/man/man3/tcpcrypt_setparam.3 /usr/share/man/man3/tcpcrypt_setsockopt.3'

# compare PACKAGE WANTED: the paths found are on stdin.
compare() {
	tr ' ' '\n' <<< "$2" | sed '/^$/d' | LC_ALL=C sort > "$work/wanted"
	sed -E 's,\.gz$,,; s,^/usr/lib/[a-z0-9_]+-linux-gnu[a-z0-9]*/,%/,; s,^/usr/lib64/,%/,
		s,^(/usr)?/lib/systemd/system/,@/,' | LC_ALL=C sort > "$work/found"
	diff -u --label wanted --label "$1" "$work/wanted" "$work/found" || die "$1 has other files"
	ok "$1: $(wc -l < "$work/found") files"
}

deb_paths() {
	# No directories, and not what every package of Debian has.
	dpkg-deb -c "$1" | awk '!/^d/ { print substr($6, 2) }' |
		grep -v -E '^/usr/share/doc/[^/]*/(changelog.gz|copyright|changelog.Debian.gz)$'
}
one_deb() {
	local found=("${debs:?}/$1"_*.deb)
	[[ -e ${found[0]} && ${#found[@]} == 1 ]] || die "not exactly one $1_*.deb in $debs"
	echo "${found[0]}"
}
if [[ $formats == *deb* ]]; then
	deb_paths "$(one_deb kxd)" | compare kxd.deb "$kxd /etc/init.d/kxd"
	deb_paths "$(one_deb kxc)" | compare kxc.deb "$kxc"
	deb_paths "$(one_deb kxgencert)" | compare kxgencert.deb "$kxgencert"
	deb_paths "$(one_deb libkx0)" | compare libkx0.deb "$library"
	deb_paths "$(one_deb libkx-dev)" | compare libkx-dev.deb "$devel"
	deb_paths "$(one_deb tcpcryptd)" | compare tcpcryptd.deb "$tcpcryptd"
	deb_paths "$(one_deb inferno-auth)" | compare inferno-auth.deb "$inferno"
	deb_paths "$(one_deb kx-hsm)" | compare kx-hsm.deb "$hsm"
	deb_paths "$(one_deb kx-vcard)" | compare kx-vcard.deb "$vcard"
	deb_paths "$(one_deb isakmpd)" | compare isakmpd.deb "$isakmpd /usr/share/lintian/overrides/isakmpd"
	deb_paths "$(one_deb libtcpcrypt0)" | compare libtcpcrypt0.deb "$libtcpcrypt"
	deb_paths "$(one_deb libtcpcrypt-dev)" | compare libtcpcrypt-dev.deb "$libtcpcrypt_devel"
	[[ $(dpkg-deb -I "$(one_deb kxd)" conffiles) == $'/etc/default/kxd\n/etc/init.d/kxd' ]] || die "other conffiles"
	[[ $(dpkg-deb -I "$(one_deb tcpcryptd)" conffiles) == /etc/default/tcpcryptd ]] || die "other conffiles"
	[[ $(dpkg-deb -I "$(one_deb inferno-auth)" conffiles) == /etc/default/inferno-auth ]] || die "other conffiles"
	[[ $(dpkg-deb -I "$(one_deb isakmpd)" conffiles) == /etc/default/isakmpd ]] || die "other conffiles"
	dpkg-deb -I "$(one_deb kxc)" triggers | grep '^activate-noawait update-initramfs' > /dev/null || die "no trigger"
	ok "conffiles and trigger of Debian's packages"
	[[ $(dpkg-deb -c "$(one_deb isakmpd)" | awk '$6 ~ "^./etc/isakmpd/" { print $1, $6 }' | LC_ALL=C sort -k 2 | tr '\n' ' ') == "$isakmpd_directories" ]] ||
		die "other directories in /etc/isakmpd"
	ok "/etc/isakmpd has empty directories, that of private keys closed"
	[[ $(dpkg-deb -f "$(one_deb kxc)" Depends) == *cryptsetup,*kxgencert* ]] || die "kxc needs cryptsetup and kxgencert"
	[[ $(dpkg-deb -f "$(one_deb kxd)" Depends) == *kxgencert* ]] || die "kxd needs kxgencert"
	ok "dependencies of Debian's packages"
	# libkx needs OpenSSL; libtcpcrypt, which any program may link to, the C library only.
	for package in $(dpkg-deb -f "$(one_deb libtcpcrypt0)" Depends | sed 's/([^)]*)//g; s/,//g'); do
		[[ $package == libc6 || $package == libgcc-s1 ]] || die "libtcpcrypt0 needs $package"
	done
	ok "libtcpcrypt0 needs the C library only"
fi

rpm_paths() {
	rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$1" 2> /dev/null |
		awk '!/^d/ { print $2 }' | grep -v '^/usr/share/licenses/'
}
one_rpm() {
	local found=("$rpms/$1"-[0-9]*.rpm)
	[[ -e ${found[0]} && ${#found[@]} == 1 ]] || die "not exactly one $1-*.rpm in $rpms"
	echo "${found[0]}"
}
if [[ $formats == *rpm* ]]; then
	rpm_paths "$(one_rpm kxd)" | compare kxd.rpm "$kxd"
	rpm_paths "$(one_rpm kxc)" | compare kxc.rpm "$kxc"
	rpm_paths "$(one_rpm kxgencert)" | compare kxgencert.rpm "$kxgencert"
	rpm_paths "$(one_rpm libkx)" | compare libkx.rpm "$library"
	rpm_paths "$(one_rpm libkx-devel)" | compare libkx-devel.rpm "$devel"
	rpm_paths "$(one_rpm tcpcryptd)" | compare tcpcryptd.rpm "$tcpcryptd"
	rpm_paths "$(one_rpm inferno-auth)" | compare inferno-auth.rpm "$inferno"
	rpm_paths "$(one_rpm kx-hsm)" | compare kx-hsm.rpm "$hsm"
	rpm_paths "$(one_rpm kx-vcard)" | compare kx-vcard.rpm "$vcard"
	rpm_paths "$(one_rpm isakmpd)" | compare isakmpd.rpm "$isakmpd"
	rpm_paths "$(one_rpm libtcpcrypt)" | compare libtcpcrypt.rpm "$libtcpcrypt"
	rpm_paths "$(one_rpm libtcpcrypt-devel)" | compare libtcpcrypt-devel.rpm "$libtcpcrypt_devel"
	rpm -qp --configfiles "$(one_rpm kxd)" 2> /dev/null | grep -x /etc/default/kxd > /dev/null || die "/etc/default/kxd is no config file"
	rpm -qp --configfiles "$(one_rpm tcpcryptd)" 2> /dev/null | grep -x /etc/default/tcpcryptd > /dev/null || die "/etc/default/tcpcryptd is no config file"
	rpm -qp --configfiles "$(one_rpm isakmpd)" 2> /dev/null | grep -x /etc/default/isakmpd > /dev/null || die "/etc/default/isakmpd is no config file"
	ok "/etc/default/kxd, /etc/default/tcpcryptd and /etc/default/isakmpd are config files"
fi
