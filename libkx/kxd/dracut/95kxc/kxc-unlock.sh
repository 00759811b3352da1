#!/bin/sh
#
# dracut without systemd, run when an interface has come up: opens the volumes
# that kxc has keys for. It may run once for each interface; what is open stays.

[ -r /etc/kxc/.volumes ] || return 0 2> /dev/null || exit 0

while read -r kxc_volume kxc_device kxc_name; do
	[ -e "/dev/mapper/$kxc_volume" ] && continue
	case $kxc_device in
	UUID=*) kxc_device=/dev/disk/by-uuid/${kxc_device#UUID=} ;;
	LABEL=*) kxc_device=/dev/disk/by-label/${kxc_device#LABEL=} ;;
	PARTUUID=*) kxc_device=/dev/disk/by-partuuid/${kxc_device#PARTUUID=} ;;
	PARTLABEL=*) kxc_device=/dev/disk/by-partlabel/${kxc_device#PARTLABEL=} ;;
	esac
	[ -e "$kxc_device" ] || continue
	kxc-cryptsetup "$kxc_name" < /dev/null |
		cryptsetup open --key-file=- "$kxc_device" "$kxc_volume" ||
		echo "kxc: could not open $kxc_volume with the key $kxc_name" >&2
done < /etc/kxc/.volumes
