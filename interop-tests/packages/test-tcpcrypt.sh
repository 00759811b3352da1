#!/bin/bash
#
# tcpcryptd, libtcpcrypt0 and libtcpcrypt-dev in a clean root with a systemd: user, library,
# a C program by pkg-config, manual pages, the launcher, the unit with a peer in a network of
# its own (encryption, kill, restart, stop), an upgrade, a purge; then the same from RPM.

# shellcheck disable=SC2016 # most is for the shells inside
set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root tcpcrypt

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'stop_root "$root"' EXIT
boot_root "$root" tcpcrypt
rpms=${KX_RPMS:-${tree:?}/target/rpm}
mkdir "$root/debs" "$root/c"
cp "${debs:?}"/tcpcryptd_*.deb "$debs"/libtcpcrypt0_*.deb "$debs"/libtcpcrypt-dev_*.deb "$root/debs/"
cp "$tree/interop-tests/c/tcpcrypt_password.c" "$root/c/"
log() { inside journalctl -q --no-pager -u tcpcryptd.service -o cat | tail -n 20; }
same() { # WHAT FOUND WANTED
	[[ $2 == "$3" ]] || die "$1: '$2', not '$3'"
}
# Paths of this package set, and whatever else would be left of it.
traces() {
	inside sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /c -o -path /tmp -o -path /var/cache \) -prune -o \
		\( -name "*tcpcrypt*" -o -name tcnetstat\* -o -name tcs -o -name tcs.8\* \) -print | sort'
	inside sh -c 'find /run -name "*tcpcrypt*"'
}
# Number of rules and tables of ours.
rules() {
	inside sh -c '{ iptables-save -t mangle; nft list tables; } 2> /dev/null | grep -c -E "NFQUEUE|tcpcryptd" || :'
}
# Until the command inside succeeds, ten seconds at most.
await() {
	for _ in {1..100}; do
		if inside "$@" > /dev/null 2>&1; then return; fi
		sleep 0.1
	done
	die "in vain: $* ($(log))"
}

# Installed, with all that they depend on.
for deb in "$debs"/tcpcryptd_*.deb "$debs"/libtcpcrypt0_*.deb "$debs"/libtcpcrypt-dev_*.deb; do
	for field in Conflicts Replaces Breaks Provides; do
		same "$field of ${deb##*/}" "$(dpkg-deb -f "$deb" $field)" ""
	done
done
before=$(traces)
same "traces in a clean root" "$before" ""
inside sh -c 'dpkg -i /debs/*.deb' > "$root/install.log" 2>&1 || die "install: $(cat "$root/install.log")"
inside dpkg --audit | grep . > /dev/null && die "dpkg --audit is not content"
ok "tcpcryptd, libtcpcrypt0 and libtcpcrypt-dev install without conflicts"
IFS=: read -r _ _ uid _ _ home shell < <(inside getent passwd tcpcryptd) || die "there is no user tcpcryptd"
same "home and shell of the user" "$home $shell" "/ /usr/sbin/nologin"
same "mode and owner of the jail" "$(inside stat -c '%a %U' /run/tcpcryptd)" "700 root"
ok "the user tcpcryptd and its jail are made"
same "tcpcryptd.service" "$(property UnitFileState tcpcryptd.service) $(property ActiveState tcpcryptd.service)" "disabled inactive"
same "rules after the installation" "$(rules)" 0
ok "the service is off, and the packet filter untouched"

# The library and the manual pages.
lib=$(inside pkg-config --variable=libdir tcpcrypt)
same "libtcpcrypt.so.0" "$(inside readlink "$lib/libtcpcrypt.so.0")" libtcpcrypt.so.0.0.0
same "libtcpcrypt.so" "$(inside readlink "$lib/libtcpcrypt.so")" libtcpcrypt.so.0.0.0
same "soname" "$(inside objdump -p "$lib/libtcpcrypt.so.0.0.0" | awk '/SONAME/ { print $2 }')" libtcpcrypt.so.0
inside ldconfig -p | grep 'libtcpcrypt\.so\.0 ' > /dev/null || die "ldconfig does not know libtcpcrypt.so.0"
same "pkg-config" "$(inside pkg-config --cflags --libs tcpcrypt | xargs)" "-ltcpcrypt"
ok "names, links and soname are the original's; pkg-config finds the library"
cat > "$root/c/absent.c" <<'C'
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <tcpcrypt/tcpcrypt.h>

int main(void)
{
	unsigned char id[64];
	socklen_t len = sizeof id;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_SESSID, id, &len) != -1)
		return 1;
	printf("%s\n", strerror(errno));
	tcpcrypt_setparam(TCPCRYPT_PARAM_CTLPATH, (char *)":9");
	if (tcpcrypt_getsockopt(s, IPPROTO_TCP, TCP_CRYPT_SESSID, id, &len) != -1)
		return 1;
	printf("%s\n", strerror(errno));
	return tcpcrypt_getsessid((char *)"10.9.0.2", 80, (char *)"10.9.0.1", 80) != NULL;
}
C
cc() { inside sh -c "cc -Wall -Wextra -Werror $1" || die "no program: $1"; }
cc '-o /c/absent /c/absent.c $(pkg-config --cflags --libs tcpcrypt)'
cc '-o /c/absent-static /c/absent.c $(pkg-config --cflags tcpcrypt) -Wl,-Bstatic -ltcpcrypt -Wl,-Bdynamic $(pkg-config --static --libs-only-l tcpcrypt | sed s/-ltcpcrypt//)'
inside objdump -p /c/absent | grep 'NEEDED *libtcpcrypt.so.0' > /dev/null || die "not linked to libtcpcrypt.so.0"
inside objdump -p /c/absent-static | grep 'NEEDED *libtcpcrypt' > /dev/null && die "not linked statically"
for program in absent absent-static; do
	same "$program" "$(inside /c/$program)" $'No such file or directory\nConnection refused'
done
ok "a C program links to either library; without a daemon it is told ENOENT or ECONNREFUSED"
same "tcnetstat without a daemon" "$(inside tcnetstat 2>&1 || echo "$?")" \
	$'tcnetstat: tcpcrypt_getsockopt(): No such file or directory\n1'
same "version" "$(inside tcpcryptd --version)" "tcpcrypt version 0.5"
for page in 8:tcpcryptd 8:tcnetstat 8:tcs 3:tcpcrypt 3:tcpcrypt_{get,set}sockopt 3:tcpcrypt_getsessid 3:tcpcrypt_setparam; do
	inside man -w "${page%%:*}" "${page#*:}" > /dev/null || die "no manual page $page"
	[[ $(inside man "${page%%:*}" "${page#*:}" 2>&1) == *NAME* ]] || die "the manual page $page is not shown"
done
ok "manual pages are found and shown"

# A host beside this one, with a daemon of its own and a server that repeats what it hears.
cat > "$root/c/echo.pl" <<'PERL'
use IO::Socket::INET;
my $l = IO::Socket::INET->new(LocalPort => shift, Listen => 9, ReuseAddr => 1) or die $!;
$SIG{CHLD} = "IGNORE";
while (my $s = $l->accept) {
	next if fork;
	while (sysread($s, my $b, 4096)) { syswrite($s, $b) }
	exit;
}
PERL
# It says each word it is given on stdin to the server, and what it hears.
cat > "$root/c/say.sh" <<'BASH'
exec 3<> "/dev/tcp/$1/$2" || exit 1
while read -r word; do
	echo "$word" 2> /dev/null >&3 && read -t 10 -r answer <&3 && echo "$answer" && continue
	echo broken
	exit 1
done
BASH
inside sh -ec 'ip netns add peer
	ip link add wire type veth peer name wire netns peer
	ip addr add 10.9.0.1/24 dev wire; ip link set wire up
	ip -n peer addr add 10.9.0.2/24 dev wire; ip -n peer link set wire up; ip -n peer link set lo up
	mkdir /run/peer'
inside ip netns exec peer env RULES=iptables ONLY_PORTS=8080:8089 DAEMON_USER=tcpcryptd DIVERT_PORT=666 \
	/usr/share/tcpcryptd/iptables.sh start || die "no rules for the peer"
inside setsid sh -c 'ip netns exec peer tcpcryptd -J /run/peer -u @peer -v > /c/peer.log 2>&1 &
	for port in 8080 8081; do ip netns exec peer perl /c/echo.pl $port > /c/echo.log 2>&1 & done'
await grep -q Running /c/peer.log
await bash -c 'echo word | bash /c/say.sh 10.9.0.2 8080'
at_peer() { inside ip netns exec peer "$@"; }
# One connection that is kept open: a line to fd 5 goes to the server, its answer to fd 6.
open_connection() {
	coproc SAY { inside timeout 60 bash /c/say.sh 10.9.0.2 8080; }
	local to=${SAY[1]} from=${SAY[0]}
	exec 5>&"$to" 6<&"$from" {to}>&- {from}<&-
	say hello
	same "the answer" "$heard" hello
}
say() {
	echo "$1" >&5
	read -t 20 -r heard <&6 || heard=nothing
}
close_connection() {
	exec 5>&- 6<&-
	wait "$SAY_PID" 2> /dev/null || :
}
rows() { inside tcnetstat | tail -n +2; }
# The open connection has one session id at both ends.
same_id() {
	[[ $(rows | wc -l) == 1 && $(rows) == *10.9.0.2:8080* ]] || die "not encrypted: $(rows) ($(log))"
	[[ $(rows | awk '{ print $3 }') == "$(at_peer tcnetstat -u @peer | awk 'NR == 2 { print $3 }')" ]] || die "other ids at the peer"
}

# The launcher.
for family in no:3 yes:6; do
	same "the rules, dry, IPV6=${family%:*}" "$(inside env ECHO=echo RULES=iptables IPV6="${family%:*}" ONLY_PORTS=80 DAEMON_USER=u \
		DIVERT_PORT=5 /usr/share/tcpcryptd/iptables.sh start | grep -c -- '--queue-num 5 --queue-bypass')" "${family#*:}"
done
same "the launcher as nobody" "$(inside setpriv --reuid=65534 --clear-groups /usr/share/tcpcryptd/launch_tcpcryptd.sh < /dev/null 2>&1 | tail -n 1 || :)" \
	"tcpcryptd already running with pid $(inside pgrep -x tcpcryptd). Proceed? [y/N] "
inside sh -c 'echo y | setpriv --reuid=65534 --clear-groups /usr/share/tcpcryptd/launch_tcpcryptd.sh' > "$root/c/nobody.log" 2>&1 && die "the launcher runs as nobody"
grep -q 'must be root' "$root/c/nobody.log" || die "no word of root: $(cat "$root/c/nobody.log")"
inside sh -c 'echo y | OPTS="-v -c" setsid env --default-signal=INT \
	/usr/share/tcpcryptd/launch_tcpcryptd.sh > /c/launch.log 2>&1 & echo $! > /c/launcher'
await grep -q Running /c/launch.log
[[ $(rules) -gt 0 ]] || die "the launcher makes no rules"
inside sh -c 'tr "\0" " " < /proc/$(cat /run/tcpcrypt.pid)/cmdline' | grep -- '-f -e -v -c ' > /dev/null || die "the launcher does not give -e and OPTS"
open_connection
same_id
close_connection
inside sh -c 'kill -INT $(cat /c/launcher)'
await grep -q 'Removing iptables rules and quitting tcpcryptd...' /c/launch.log
for _ in {1..50}; do [[ $(rules) == 0 && ! -e /proc/${pid:?}/root/run/tcpcrypt.pid ]] && break; sleep 0.1; done
same "rules after the launcher" "$(rules)" 0
[[ -e /proc/$pid/root/run/tcpcrypt.pid ]] && die "the launcher leaves its pid file"
ok "launch_tcpcryptd.sh: root only, asks before a second one, OPTS, pid file; rules and file go with it"

# The unit.
liberal=/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal
tracking() { inside sh -c "cat $liberal 2> /dev/null || echo none"; }
was=$(tracking)
echo 'OPTS=-vv' >> "$root/etc/default/tcpcryptd"
inside systemctl enable --now tcpcryptd.service 2> /dev/null || die "tcpcryptd.service does not start: $(log)"
main=$(property MainPID tcpcryptd.service)
same "state" "$(property ActiveState tcpcryptd.service) $(property NotifyAccess tcpcryptd.service)" "active main"
log | grep '^Sandbox: no_new_privs on; seccomp on' > /dev/null || die "no sandbox: $(log)"
same "user and capabilities" "$(inside awk '/^Uid:|^CapEff:|^CapBnd:/ { print $2 }' "/proc/$main/status" | xargs)" \
	"$uid 0000000000001000 0000000000001000"
# One more is the peer's.
same "number of guards" "$(inside pgrep -x -c tcpcrypt-guard)" 2
[[ $(rules) -gt 0 ]] || die "no rules: $(log)"
[[ $was == none || $(tracking) == 1 ]] || die "nf_conntrack_tcp_be_liberal is $(tracking): $(log)"
same "the control socket's mode" "$(inside stat -c %a /run/tcpcryptd.control)" 777
same "tcnetstat of a user" "$(inside setpriv --reuid=65534 --clear-groups tcnetstat)" $'Local address\t\tForeign address\t\tSID'
ok "tcpcryptd.service: ready when it is, as user tcpcryptd with one capability, rules and tracking set"
open_connection
same_id
ok "a connection is encrypted, with one session id at both ends"

# A C program proves by the session id who is there.
cc '-o /c/password /c/tcpcrypt_password.c $(pkg-config --cflags --libs tcpcrypt libcrypto)'
inside setsid sh -c 'ip netns exec peer /c/password @peer rosebud listen 8085 > /c/password.log 2>&1 &'
await grep -q listening /c/password.log
inside /c/password /run/tcpcryptd.control rosebud connect 10.9.0.2 8085 > /dev/null || die "the password is refused"
ok "a C program authenticates the connection by libtcpcrypt"

# What runs is not disturbed by an upgrade.
inside sh -c 'dpkg -i --force-confold /debs/*.deb' > "$root/install.log" 2>&1 || die "upgrade: $(cat "$root/install.log")"
same "the daemon after an upgrade" "$(property MainPID tcpcryptd.service)" "$main"
grep -q '^OPTS=-vv' "$root/etc/default/tcpcryptd" || die "/etc/default/tcpcryptd was changed"
say again
same "the connection after an upgrade" "$heard" again
ok "an upgrade lets daemon, connections and settings alone"

inside systemctl restart tcpcryptd.service || die "no restart: $(log)"
say anything
same "an encrypted connection after a restart" "$heard" broken
close_connection
open_connection
same_id
ok "restart: encrypted connections are reset, new ones encrypted"

main=$(property MainPID tcpcryptd.service)
inside kill -9 "$main"
for _ in {1..100}; do
	now=$(property MainPID tcpcryptd.service)
	[[ $now != "$main" && $now != 0 && $(property ActiveState tcpcryptd.service) == active ]] && break
	sleep 0.1
done
[[ $now != "$main" && $now != 0 ]] || die "not started again: $(log)"
say anything
same "an encrypted connection whose daemon was killed" "$heard" broken
close_connection
inside journalctl -q --no-pager -u tcpcryptd.service -o cat | grep 'the daemon is gone; reset 1 encrypted connections' > /dev/null || die "the guard did nothing: $(log)"
open_connection
same_id
close_connection
ok "killed: the guard resets what was encrypted, systemd starts the daemon again"

inside systemctl stop tcpcryptd.service || die "no stop: $(log)"
same "after the stop" "$(property ActiveState tcpcryptd.service) $(property Result tcpcryptd.service) $(rules)" "inactive success 0"
same "nf_conntrack_tcp_be_liberal after the stop" "$(tracking)" "$was"
same "number of guards after the stop" "$(inside pgrep -x -c tcpcrypt-guard)" 1
same "a connection without the daemon" "$(inside sh -c 'echo plain | bash /c/say.sh 10.9.0.2 8080')" plain
ok "stop: rules, guard and setting are gone, connections are plain"

# Off it goes, while it runs.
inside systemctl start tcpcryptd.service
inside apt-get remove -qq -y tcpcryptd > "$root/remove.log" 2>&1 || die "remove: $(cat "$root/remove.log")"
same "rules after the removal" "$(rules)" 0
same "number of daemons after the removal" "$(inside pgrep -x -c tcpcryptd)" 1
[[ -e $root/etc/default/tcpcryptd ]] || die "the removal took the configuration"
inside apt-get purge -qq -y tcpcryptd libtcpcrypt0 libtcpcrypt-dev > "$root/purge.log" 2>&1 || die "purge: $(cat "$root/purge.log")"
same "left after a purge" "$(traces)" ""
inside getent passwd tcpcryptd > /dev/null || die "the user is gone"
ok "removal stops it and takes the rules; a purge leaves nothing but the user"

# From RPM, without its data base of dependencies: in this root there is none.
if ! command -v rpm > /dev/null || ! compgen -G "$rpms/tcpcryptd-*.rpm" > /dev/null; then
	echo "SKIP  the RPM packages: no rpm, or none in $rpms"
	exit 0
fi
sed -i /tcpcryptd/d "$root/etc/passwd" "$root/etc/shadow" "$root/etc/group" "$root/etc/gshadow"
rpm --root "$root" -i --nodeps "$rpms"/tcpcryptd-[0-9]*.rpm "$rpms"/libtcpcrypt-[0-9]*.rpm "$rpms"/libtcpcrypt-devel-[0-9]*.rpm \
	> "$root/rpm.log" 2>&1 || die "rpm: $(cat "$root/rpm.log")"
inside getent passwd tcpcryptd > /dev/null || die "the RPM package makes no user: $(cat "$root/rpm.log")"
inside systemctl daemon-reload
same "tcpcryptd.service of the RPM package" "$(property UnitFileState tcpcryptd.service)" disabled
# It does not ask where this system would look for libraries.
inside sh -ec 'cc -Wall -Wextra -Werror -o /c/absent /c/absent.c $(PKG_CONFIG_PATH=/usr/lib64/pkgconfig pkg-config --cflags --libs tcpcrypt)
	LD_LIBRARY_PATH=/usr/lib64 /c/absent' > /dev/null || die "no program by the RPM package"
inside systemctl start tcpcryptd.service || die "the RPM package's daemon does not start: $(log)"
open_connection
same_id
close_connection
inside systemctl stop tcpcryptd.service
rpm --root "$root" -e tcpcryptd libtcpcrypt libtcpcrypt-devel > "$root/rpm.log" 2>&1 || die "rpm -e: $(cat "$root/rpm.log")"
same "left after rpm -e" "$(traces | grep -v '^/run/' || :)" ""
ok "the RPM packages install, encrypt, and leave nothing"
