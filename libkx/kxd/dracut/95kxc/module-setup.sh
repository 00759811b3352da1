#!/bin/bash
#
# dracut module: fetches LUKS keys from a kxd server before the root file system
# is mounted. dracut calls the functions below by their names.

# Included when this machine is a kxc client and the tools are there.
check() {
	require_binaries kxc kxc-cryptsetup cryptsetup || return 1
	# 255: only when asked for, or when another module depends on it.
	[[ -e ${dracutsysrootdir-}/etc/kxc/cert.pem ]] || return 255
	return 0
}

depends() {
	echo crypt network
	return 0
}

# Prints "VOLUME DEVICE NAME" for each crypttab line that names one of our keys:
# by the socket of kxc@.socket, or by Debian's keyscript= option.
kxc_entries() {
	local volume device key options
	[[ -r ${dracutsysrootdir-}/etc/crypttab ]] || return 0
	while read -r volume device key options _; do
		[[ $volume && $volume != '#'* ]] || continue
		case $key,$options in
		/run/kxc/*) echo "$volume $device ${key#/run/kxc/}" ;;
		*keyscript=*kxc-cryptsetup*) echo "$volume $device $key" ;;
		esac
	done < "${dracutsysrootdir-}/etc/crypttab"
}

install() {
	local volume device name

	inst_multiple kxc kxc-cryptsetup cryptsetup cat tr sh
	inst_multiple -o /etc/host.conf
	# Loaded at run time by C libraries before 2.34.
	inst_libdir_file "libnss_files.so*" "libnss_dns.so*" "libresolv.so*"

	# ${initdir:?} is set by dracut.
	mkdir -p "${initdir:?}/etc"
	if ! grep -q '^hosts:' "$initdir/etc/nsswitch.conf" 2> /dev/null; then
		echo "hosts: files dns" >> "$initdir/etc/nsswitch.conf"
	fi
	cp -a "${dracutsysrootdir-}/etc/kxc" "$initdir/etc/"

	# The keys are on the network.
	mkdir -p "$initdir/etc/cmdline.d"
	echo "rd.neednet=1" > "$initdir/etc/cmdline.d/95kxc.conf"

	kxc_entries > "$initdir/etc/kxc/.volumes"

	if dracut_module_included systemd; then
		# systemd-cryptsetup asks the socket by itself.
		inst_multiple /usr/libexec/kxc/kxc-answer-socket \
			"${systemdsystemunitdir:?}/kxc@.socket" "$systemdsystemunitdir/kxc@.service"
		while read -r volume device name; do
			mkdir -p "$initdir/etc/systemd/system/sockets.target.wants"
			ln -sf "$systemdsystemunitdir/kxc@.socket" \
				"$initdir/etc/systemd/system/sockets.target.wants/kxc@$name.socket"
		done < "$initdir/etc/kxc/.volumes"
	else
		inst_hook initqueue/online 50 "${moddir:?}/kxc-unlock.sh"
	fi
}
