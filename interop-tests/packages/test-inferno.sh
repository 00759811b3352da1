#!/bin/bash
#
# inferno-auth under a real systemd: off after installation; svc-auth.service in its
# sandbox, with an account, a login and a changed secret; the same by sockets.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

# As on a machine that has booted: credentials are mounted by a process beside the service.
# shellcheck disable=SC2154 # from root.sh
boot_script=${boot_script/exec env/mount --make-rshared /; exec env}

need_root
fetch_root dracut

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'stop_root "$root"' EXIT
boot_root "$root" dracut
mkdir "$root/debs"
cp "${debs:?}"/inferno-auth_*.deb "$root/debs/"
log() { inside journalctl -q --no-pager -o cat -u svc-auth -u 'inferno-*' | tail -n 20; }
# One of the programs, with answers on standard input.
say() {
	local answers=$1
	shift
	printf '%b' "$answers" | inside env INFERNO_ROOT=/var/lib/inferno SIGNER=localhost \
		inferno-auth "$@" 2>&1
}

inside sh -c 'dpkg -i --force-depends /debs/*.deb' > "$root/install.log" 2>&1 || die "install: $(cat "$root/install.log")"
for unit in svc-auth.service inferno-keyfs.service inferno-keysrv.socket inferno-logind.socket; do
	[[ $(property UnitFileState "$unit") != enabled && $(property ActiveState "$unit") == inactive ]] ||
		die "$unit is on"
done
[[ $(inside id -un inferno-auth) == inferno-auth ]] || die "no user inferno-auth"
ok "installed: a user, and everything off"

# As README.Debian says it.
inside sh -c 'install -d -m 700 -o inferno-auth -g inferno-auth /var/lib/inferno \
		/var/lib/inferno/keydb /var/lib/inferno/mnt
	install -m 600 -o inferno-auth -g inferno-auth /dev/null /var/lib/inferno/keydb/keys
	INFERNO_ROOT=/var/lib/inferno inferno-auth createsignerkey signer.example.org
	chown inferno-auth: /var/lib/inferno/keydb/signerkey
	install -d -m 700 /etc/inferno-auth
	umask 077; printf %s "the master key" > /etc/inferno-auth/master-key'
inside systemctl start svc-auth || die "svc-auth.service does not start: $(log)"
main=$(property MainPID svc-auth)
[[ $(inside sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$main/status") == "$(inside id -u inferno-auth)" ]] ||
	die "svc-auth does not run as inferno-auth"
ok "svc-auth.service runs as its user in its sandbox"

use() {
	say "$1\n$1\n\n" changelogin "$2" > "$root/said" || die "changelogin: $(cat "$root/said"; log)"
	say "\n$2\n$1\nyes\n" getauthinfo default > "$root/said" || die "getauthinfo: $(cat "$root/said"; log)"
	inside test -s /var/lib/inferno/usr/root/keyring/default || die "no certificate: $(log)"
	say "$1\nchanged $1\nchanged $1\n" passwd > "$root/said" || die "passwd: $(cat "$root/said"; log)"
	if say "$1\n" passwd | grep -v 'wrong secret' | grep 'new secret' > /dev/null; then die "the old secret still counts"; fi
	say "changed $1\n\n" passwd | grep 'new secret' > /dev/null || die "the new secret does not count: $(log)"
	inside rm /var/lib/inferno/usr/root/keyring/default
}
use "first password" alice
ok "root adds an account; its user logs in and changes the secret; the old one is refused"
log | grep 'alice: secret changed' > /dev/null || die "no audit: $(log)"
if log | grep 'first password' > /dev/null; then die "a secret in the log"; fi
ok "the journal says what was done, and no secret"

inside systemctl reload svc-auth || die "no reload"
[[ $(property MainPID svc-auth) == "$main" ]] || die "the reload did harm: $(log)"
inside systemctl stop svc-auth
[[ $(property Result svc-auth) == success ]] || die "it does not end well: $(log)"
ok "reload and stop"

inside systemctl start inferno-keysrv.socket inferno-logind.socket || die "no sockets: $(log)"
inside systemctl start inferno-keyfs || die "no keyfs: $(log)"
use "second password" bob
ok "the same by inferno-keysrv.socket, inferno-logind.socket and inferno-keyfs.service"
