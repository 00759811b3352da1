#!/bin/bash
#
# isakmpd under a real systemd: nothing is active after installation; over the package that Debian had until
# 2018 with an /etc/isakmpd made by hand, of which nothing is changed; a tunnel negotiated from the unit's
# sandbox; upgrade, removal and purge, after which keys are still there; and the same from RPM.

# shellcheck disable=SC2016 # the programs inside expand these
set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root tcpcrypt

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'stop_root "$root"' EXIT
boot_root "$root" tcpcrypt
rpms=${KX_RPMS:-${tree:?}/target/rpm}
samples=$tree/isakmpd-compat/isakmpd/samples
mkdir "$root/debs" "$root/t"
cp "${debs:?}"/isakmpd_*.deb "$root/debs/ours.deb"
log() { inside journalctl -q --no-pager -u isakmpd.service -o cat | tail -n 20; }
same() { # WHAT FOUND WANTED
	[[ $2 == "$3" ]] || die "$1: '$2', not '$3'"
}
state() { property "$1" isakmpd.service; }
# Until the command inside succeeds, thirty seconds at most.
await() {
	for _ in {1..300}; do
		if inside "$@" > /dev/null 2>&1; then return; fi
		sleep 0.1
	done
	die "in vain: $* ($(log))"
}
# Everything in /etc/isakmpd, with mode, owner, time and content.
configuration() {
	inside sh -c 'cd /etc/isakmpd && find . -printf "%p %y %m %U:%G %T@\n" | sort
		find . -type f -print0 | sort -z | xargs -0r sha256sum'
}
install() { inside dpkg -i --force-confold /debs/ours.deb > "$root/install.log" 2>&1 || die "install: $(cat "$root/install.log")"; }
traces() {
	inside find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /t -o -path /tmp -o -path /var/cache \) \
		-prune -o \( -name '*isakmpd*' -o -name 'certpatch*' -o -name 'keynote*' \) -print | sort
	inside find /run -name '*isakmpd*'
}

# A clean root.
same "traces in a clean root" "$(traces)" ""
install
inside dpkg --audit | grep . > /dev/null && die "dpkg --audit is not content"
IFS=: read -r _ _ uid _ _ home shell < <(inside getent passwd _isakmpd) || die "there is no user _isakmpd"
same "home and shell of the user" "$home $shell" "/var/empty /usr/sbin/nologin"
same "the child's jail" "$(inside stat -c '%a %U' /var/empty)" "755 root"
same "private keys' directory" "$(inside stat -c '%a %U' /etc/isakmpd/private)" "700 root"
same "files in /etc/isakmpd" "$(inside find /etc/isakmpd ! -type d)" ""
same "isakmpd.service" "$(state UnitFileState) $(state ActiveState) $(state ConditionResult)" "enabled inactive no"
inside systemctl --failed --no-legend | grep isakmpd > /dev/null && die "isakmpd.service has failed"
ok "a clean installation: user, jail and empty directories; the service waits for a configuration"
for page in 1:keynote 5:isakmpd.conf 5:isakmpd.policy 8:isakmpd 8:certpatch; do
	[[ $(inside man "${page%%:*}" "${page#*:}" 2>&1) == *NAME* ]] || die "the manual page $page is not shown"
done
inside isakmpd --check -c /usr/share/doc/isakmpd/examples/east-west/east.conf > "$root/t/check" 2>&1 || :
[[ -s $root/t/check ]] || die "isakmpd --check says nothing"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$root/t/key" -subj /CN=x -out "$root/t/plain" 2> /dev/null
inside certpatch -t fqdn -i gate.example.org -k /t/key /t/plain /t/patched > /dev/null || die "certpatch fails"
openssl x509 -in "$root/t/patched" -noout -ext subjectAltName | grep 'DNS:gate.example.org' > /dev/null ||
	die "certpatch does not work"
inside keynote keygen rsa-base64: 2048 /t/public /t/private || die "keynote does not work"
ok "manual pages, samples, isakmpd --check, certpatch and keynote"
inside apt-get purge -qq -y isakmpd > "$root/t/purge" 2>&1 || die "purge: $(cat "$root/t/purge")"
same "left after a purge" "$(traces)" ""
inside getent passwd _isakmpd > /dev/null || die "the user is gone"
ok "a purge leaves nothing but the user and its empty home"

# What a host of 2018 has: the package with an init script, configuration and policy, and what somebody made.
mkdir -p "$root/t/former/DEBIAN" "$root/t/former/etc/isakmpd" "$root/t/former/etc/init.d" "$root/t/former/usr/sbin"
cat > "$root/t/former/DEBIAN/control" <<'CONTROL'
Package: isakmpd
Version: 20041012-7.2
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: stands for the former package
CONTROL
printf '/etc/isakmpd/isakmpd.conf\n/etc/isakmpd/isakmpd.policy\n/etc/init.d/isakmpd\n' > "$root/t/former/DEBIAN/conffiles"
printf '#!/bin/sh\nexit 0\n' > "$root/t/former/etc/init.d/isakmpd"
chmod 755 "$root/t/former/etc/init.d/isakmpd"
cp "$root/t/former/etc/init.d/isakmpd" "$root/t/former/usr/sbin/isakmpd"
echo '# a sample' | tee "$root/t/former/etc/isakmpd/isakmpd.conf" > "$root/t/former/etc/isakmpd/isakmpd.policy"
chmod 600 "$root/t/former/etc/isakmpd"/*
inside sh -c 'dpkg-deb --root-owner-group -b /t/former /debs/former.deb && dpkg -i /debs/former.deb &&
	ln -s ../init.d/isakmpd /etc/rc2.d/S20isakmpd' > "$root/t/former.log" 2>&1 || die "the former package: $(cat "$root/t/former.log")"
inside mkdir -p /etc/isakmpd/private /etc/isakmpd/ca /etc/isakmpd/pubkeys/ipv4
cat "$samples/east-west/east.conf" > "$root/etc/isakmpd/isakmpd.conf"
printf 'KeyNote-Version: 2\nAuthorizer: "POLICY"\n' > "$root/etc/isakmpd/isakmpd.policy"
openssl genrsa -out "$root/etc/isakmpd/private/local.key" 2048 2> /dev/null
openssl rsa -in "$root/etc/isakmpd/private/local.key" -pubout -out "$root/etc/isakmpd/pubkeys/ipv4/192.0.2.9" 2> /dev/null
inside sh -c 'cd /etc/isakmpd
	chmod 600 private/local.key; chmod 750 private; chmod 751 .; chown _isakmpd private/local.key
	touch -d 2018-01-01 ca private private/* pubkeys pubkeys/ipv4 pubkeys/ipv4/* isakmpd.*; touch -d 2018-01-01 .'
before=$(configuration)
# -n, since whether this kernel has IPsec is not the question here.
echo 'OPTS="-n -v"' > "$root/etc/default/isakmpd"
# The two gateways' addresses.
inside sh -ec 'ip netns add west
	ip link add wire type veth peer name wire netns west
	ip addr add 192.0.2.1/24 dev wire; ip link set wire up
	ip -n west addr add 192.0.2.2/24 dev wire; ip -n west link set wire up; ip -n west link set lo up'
install
after=$(configuration)
# Directories of ours that were not there are new; so the times of those that hold them are.
while read -r line; do
	[[ $line == ". d "* || $line == "./pubkeys d "* ]] && line=${line% *}
	[[ $after == *"$line"* ]] || die "changed by the installation: $line"
done <<< "$before"
[[ -e $root/etc/init.d/isakmpd || -h $root/etc/rc2.d/S20isakmpd ]] && die "the init script or its link is still there"
ok "over the former package: /etc/isakmpd is as it was, the init script is gone"
same "isakmpd.service" "$(state UnitFileState) $(state ActiveState)" "enabled active"
main=$(state MainPID)
same "the process in the pid file" "$(inside cat /run/isakmpd.pid)" "$main"
child=$(inside pgrep -P "$main")
same "the child's users" "$(inside awk '/^Uid:/ { print $2, $3, $4 }' "/proc/$child/status")" "$uid $uid $uid"
same "the child's capabilities" "$(inside awk '/^Cap(Prm|Eff|Bnd):/ { print $2 }' "/proc/$child/status" | sort -u)" 0000000000000000
same "the child's root" "$(inside readlink "/proc/$child/root")" /var/empty
same "filters" "$(inside awk '/^(Seccomp|NoNewPrivs):/ { print $2 }' "/proc/$child/status" | xargs)" "1 2"
ok "the service goes on with that configuration, in its sandbox and in two processes"

# West is another daemon beside it, with files of its own.
mkdir -p "$root/t/west/etc" "$root/t/west/run"
cp "$samples/east-west/west.conf" "$root/t/west/etc/isakmpd.conf"
chmod 600 "$root/t/west/etc/isakmpd.conf"
inside setsid unshare -m sh -c 'mount --bind /t/west/etc /etc/isakmpd && mount --bind /t/west/run /run &&
	exec nsenter --net=/proc/1/root/run/netns/west isakmpd -d -n -K -v > /t/west/log 2>&1 &' || die "no second daemon"
await grep -q 'isakmpd: starting' /t/west/log
echo 'c east-west' > "$root/t/command"
inside sh -c 'cat /t/command > /run/isakmpd.fifo'
await grep -q 'quick mode done (as responder)' /t/west/log
await sh -c 'journalctl -q --no-pager -u isakmpd -o cat | grep "isakmpd: quick mode done: src: 192.0.2.1 dst: 192.0.2.2"'
inside sh -c 'echo S > /run/isakmpd.fifo'
await grep -q '^SA name: east-west (Phase 2)' /run/isakmpd.result
ok "a tunnel is negotiated by two secrets and a policy; FIFO and result are where they were"
inside systemctl reload isakmpd || die "no reload: $(log)"
await sh -c 'journalctl -q --no-pager -u isakmpd -o cat | grep "SIGHUP received"'
same "the process after a reload" "$(state MainPID) $(inside pgrep -P "$main")" "$main $child"
ok "reload: the same processes go on"

before=$(configuration)
install
same "/etc/isakmpd after an upgrade" "$(configuration)" "$before"
grep -q '^OPTS="-n -v"' "$root/etc/default/isakmpd" || die "/etc/default/isakmpd was changed"
same "the service after an upgrade" "$(state ActiveState)" active
main=$(state MainPID)
ok "an upgrade keeps /etc/isakmpd and /etc/default/isakmpd, and the daemon runs"

inside kill -9 "$main"
for _ in {1..200}; do
	now=$(state MainPID)
	[[ $now != "$main" && $now != 0 && $(state ActiveState) == active ]] && break
	sleep 0.1
done
[[ $now != "$main" && $now != 0 ]] || die "not started again: $(log)"
same "daemons" "$(inside pgrep -c -U _isakmpd -P "$now")" 1
inside systemctl stop isakmpd || die "no stop: $(log)"
same "after the stop" "$(state ActiveState) $(state Result)" "inactive success"
same "FIFO and pid file after the stop" "$(inside find /run -maxdepth 1 -name 'isakmpd.fifo' -o -maxdepth 1 -name 'isakmpd.pid')" ""
ok "killed, it is started again; a stop is an end in good order"

inside systemctl start isakmpd
inside apt-get remove -qq -y isakmpd > "$root/t/remove" 2>&1 || die "remove: $(cat "$root/t/remove")"
# Empty directories go with the package.
same "files in /etc/isakmpd after the removal" "$(configuration | grep -v ' d ')" "$(grep -v ' d ' <<< "$before")"
same "secrets left in /run" "$(inside find /run -maxdepth 1 -name 'isakmpd.*')" ""
inside apt-get purge -qq -y isakmpd < /dev/null > "$root/t/purge" 2>&1 || die "purge: $(cat "$root/t/purge")"
for file in private/local.key pubkeys/ipv4/192.0.2.9; do
	[[ $before == *"$(sha256sum < "$root/etc/isakmpd/$file" | cut -d ' ' -f 1)  ./$file"* ]] || die "the purge took $file"
done
[[ -e $root/etc/isakmpd/isakmpd.conf ]] && die "a conffile of the former package is left, README.Debian says otherwise"
ok "removal leaves /etc/isakmpd, and a purge the keys that somebody made"

# From RPM, without its data base of dependencies: in this root there is none.
if ! command -v rpm > /dev/null || ! compgen -G "$rpms/isakmpd-*.rpm" > /dev/null; then
	echo "SKIP  the RPM package: no rpm, or none in $rpms"
	exit 0
fi
sed -i /_isakmpd/d "$root/etc/passwd" "$root/etc/shadow" "$root/etc/group" "$root/etc/gshadow"
cp "$samples/east-west/east.conf" "$root/etc/isakmpd/isakmpd.conf"
chmod 600 "$root/etc/isakmpd/isakmpd.conf"
before=$(inside sh -c 'cd /etc/isakmpd && find . -type f -exec sha256sum {} + ; stat -c "%a %n" . private' | sort)
rpm --root "$root" -i --nodeps "$rpms"/isakmpd-[0-9]*.rpm > "$root/t/rpm" 2>&1 || die "rpm: $(cat "$root/t/rpm")"
inside getent passwd _isakmpd > /dev/null || die "the RPM package makes no user: $(cat "$root/t/rpm")"
same "crls and pubkeys/fqdn" "$(inside stat -c '%a %U' /etc/isakmpd/crls /etc/isakmpd/pubkeys/fqdn | xargs)" "755 root 755 root"
echo 'OPTS="-n -K -v"' > "$root/etc/default/isakmpd"
inside systemctl daemon-reload
inside systemctl start isakmpd || die "the RPM package's daemon does not start: $(log)"
inside sh -c 'cat /t/command > /run/isakmpd.fifo'
await sh -c '[ "$(grep -c "quick mode done (as responder)" /t/west/log)" -ge 2 ]'
inside systemctl stop isakmpd
rpm --root "$root" -e isakmpd > "$root/t/rpm" 2>&1 || die "rpm -e: $(cat "$root/t/rpm")"
same "/etc/isakmpd after rpm -e" "$(inside sh -c 'cd /etc/isakmpd && find . -type f -exec sha256sum {} + ; stat -c "%a %n" . private' | sort)" "$before"
# Its scriptlets see no running systemd here, so the unit's link stays.
same "left of the RPM package" "$(traces | grep -v -e '^/etc/isakmpd' -e '^/run/' -e rpmsave -e '^/etc/systemd' || :)" ""
ok "the RPM package installs, negotiates, and leaves what somebody made"
