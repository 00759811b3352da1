#!/bin/bash
#
# What the four scripts print, write and call, in a clean root with stand-ins for
# kxc and kxgencert. KX_ORIGINAL=1 runs the same on Debian's scripts, leaving out
# what only ours do.

set -eu -o pipefail
# shellcheck source=root.sh
. "$(dirname "$0")/root.sh"

need_root
fetch_root
in_namespaces "$0" "$@"

root=$(mktemp -d "${cache:?}/root.XXXXXX")
trap 'umount -l "$root/proc" "$root/dev" 2> /dev/null; rm -rf --one-file-system "$root"' EXIT
make_root "$root"
original=${KX_ORIGINAL-}
if [[ ! $original ]]; then
	for script in create-kxd-config kxc-add-key kxc-cryptsetup kxd-add-client-key kxc-answer-socket; do
		install -m 755 "${tree:?}/libkx/kxd/scripts/$script" "$root/usr/bin/"
	done
fi
# shellcheck disable=SC2016
printf '%s\n' '#!/bin/sh' "printf '[%s]\\n' \"\$@\"" 'exit "${KXC_STATUS:-0}"' > "$root/usr/bin/kxc"
# Like the real one: last -cert and -key win, the key is private.
cat > "$root/usr/bin/kxgencert" <<'STUB'
#!/bin/bash
printf '[%s]\n' "$@" > /tmp/kxgencert.args
while (($#)); do
	case $1 in
	-cert) echo cert > "$2" ;;
	-key) (umask 077; echo key > "$2") ;;
	esac
	shift
done
STUB
chmod 755 "$root/usr/bin/kxc" "$root/usr/bin/kxgencert"

# run COMMAND...: sets out, err and status.
run() {
	out=$(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOSTNAME=client1 \
		KXC_STATUS="${kxc_status-0}" "$@" 2> "$root/tmp/err" && echo x0 || echo "x$?")
	# What stands behind the last x keeps line ends from being cut off, and is the status.
	status=${out##*x} out=${out%x*}
	err=$(< "$root/tmp/err")
}
# The same, for the exit status.
status_of() {
	chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOSTNAME=client1 \
		KXC_STATUS="${kxc_status-0}" "$@" > /dev/null 2>&1 && echo 0 || echo $?
}
same() { # WHAT FOUND WANTED
	[[ $2 == "$3" ]] || die "$1:
--- found
$2
--- wanted
$3"
}
mode() { stat -c %a "$root$1"; }

# Usage.
for command in kxc-add-key 'kxc-add-key a' kxd-add-client-key 'kxd-add-client-key a' \
	create-kxd-config 'kxc-add-key a ' "kxd-add-client-key a "; do
	read -ra words <<< "$command"
	[[ $command == *' ' ]] && words+=('')
	same "status of $command" "$(status_of "${words[@]}")" 1
	run "${words[@]}"
	[[ $out == *Usage:\ * && ! $err ]] || die "$command prints no usage: $out$err"
done
run create-kxd-config
same "usage of create-kxd-config" "$out" $'Usage: /usr/bin/create-kxd-config <hostname>\n'
run kxc-add-key one
same "usage of kxc-add-key" "$out" "
Usage: kxc-add-key <server hostname> <key name>

This command adds a new key to kxc's configuration, initializing it if
necessary.

"
run kxd-add-client-key one
same "usage of kxd-add-client-key" "$out" "
Usage: kxd-add-client-key <client hostname> <key name>

This command is a helper for adding a new key to kxd's configuration.
It takes the hostname of the client and the key name, and puts the
corresponding configuration (including a randomly generated key) in
/etc/kxd/data/<client hostname>/<key name>/.

"
[[ ! -e $root/etc/kxd && ! -e $root/etc/kxc ]] || die "asking for the usage made something"
ok "usage: text on stdout, status 1, nothing done"

# create-kxd-config
run create-kxd-config 'a.example,*'
same "create-kxd-config" "$status $out$err" $'0 Creating directories (/etc/kxd/)\n'
same "its kxgencert" "$(< "$root/tmp/kxgencert.args")" "[-host]
[a.example,*]
[-organization]
[kxd@client1]
[-key]
[/etc/kxd/key.pem]
[-cert]
[/etc/kxd/cert.pem]"
same "modes" "$(mode /etc/kxd) $(mode /etc/kxd/data) $(mode /etc/kxd/key.pem) $(mode /etc/kxd/cert.pem)" "755 755 400 644"
rm "$root/tmp/kxgencert.args"
run create-kxd-config b
same "second create-kxd-config" "$out" $'Creating directories (/etc/kxd/)\nPrivate key already exists (/etc/kxd/key.pem)\n'
[[ ! -e $root/tmp/kxgencert.args ]] || die "an existing key was made anew"
ok "create-kxd-config: texts, files, modes; an existing key stays"

# kxc-add-key
run kxc-add-key srv disk
same "kxc-add-key" "$status $out$err" "0 Creating directories (/etc/kxc/)
Setting URL to kxd://srv/client1/disk


YOU need to copy the server certificate to
/etc/kxc/disk.server_cert.pem. For example, using:

  \$ scp srv:/etc/kxd/cert.pem /etc/kxc/disk.server_cert.pem

"
same "its kxgencert" "$(< "$root/tmp/kxgencert.args")" "[-organization]
[kxc@client1]
[-key]
[/etc/kxc/key.pem]
[-cert]
[/etc/kxc/cert.pem]"
same "modes" "$(mode /etc/kxc) $(mode /etc/kxc/key.pem) $(mode /etc/kxc/disk.url)" "755 400 644"
chmod 640 "$root/etc/kxc/disk.url"
run kxc-add-key 'srv2:123' disk
[[ $out == *'Private key already exists (/etc/kxc/key.pem)'* ]] || die "kxc-add-key: $out"
same "disk.url" "$(cat "$root/etc/kxc/disk.url"; mode /etc/kxc/disk.url)" $'kxd://srv2:123/client1/disk\n640'
same "files" "$(ls -A "$root/etc/kxc")" $'cert.pem\ndisk.url\nkey.pem'
ok "kxc-add-key: texts, files, modes; a new URL replaces the old one"

# kxd-add-client-key
run kxd-add-client-key web1 disk
same "kxd-add-client-key" "$status $out" "0 Creating directory (/etc/kxd/data/web1/disk)
Generating random key from /dev/urandom (/etc/kxd/data/web1/disk/key)

Allowing host web1


YOU need to copy the client certificate to
/etc/kxd/data/web1/disk/allowed_clients. For example, using:

 \$ scp web1:/etc/kxc/cert.pem /etc/kxd/data/web1/disk/allowed_clients

"
key=$root/etc/kxd/data/web1/disk/key
same "modes" "$(mode /etc/kxd/data/web1/disk) $(mode /etc/kxd/data/web1/disk/key) $(mode /etc/kxd/data/web1/disk/allowed_hosts)" "755 644 644"
same "size" "$(stat -c %s "$key")" 2048
before=$(sha256sum < "$key")
chmod 600 "$key"
run kxd-add-client-key web1 disk
[[ $before != "$(sha256sum < "$key")" ]] || die "the key is not random"
same "mode and size of a replaced key" "$(stat -c '%a %s' "$key")" "600 2048"
same "allowed_hosts" "$(< "$root/etc/kxd/data/web1/disk/allowed_hosts")" $'web1\nweb1'
same "files" "$(ls -A "$root/etc/kxd/data/web1/disk")" $'allowed_hosts\nkey'
run sh -c 'umask 077; kxd-add-client-key web2 disk'
same "modes with umask 077" "$(mode /etc/kxd/data/web2/disk) $(mode /etc/kxd/data/web2/disk/key)" "700 600"
mv "$key" "$root/etc/kxd/elsewhere"
ln -s /etc/kxd/elsewhere "$key"
run kxd-add-client-key web1 disk
[[ -L $key ]] || die "a linked key is no link any more"
ok "kxd-add-client-key: texts, files, modes; links and modes stay"

# kxc-cryptsetup
run kxc-cryptsetup disk
same "kxc-cryptsetup" "$status $out$err" "0 [--client_cert=/etc/kxc/cert.pem]
[--client_key=/etc/kxc/key.pem]
[--server_cert=/etc/kxc/disk.server_cert.pem]
[kxd://srv2:123/client1/disk]
"
kxc_status=7
same "status of kxc-cryptsetup" "$(status_of kxc-cryptsetup disk)" 7
kxc_status=0
run kxc-cryptsetup missing
[[ $err == *missing.url* ]] || die "kxc-cryptsetup with a missing URL: $out$err"
ok "kxc-cryptsetup: the flags and the URL, kxc's status"

[[ $original ]] && exit 0

# What only ours do.
printf 'web1' > "$root/etc/kxd/data/web2/disk/allowed_hosts"
run kxd-add-client-key web2 disk
same "allowed_hosts" "$(< "$root/etc/kxd/data/web2/disk/allowed_hosts")" $'web1\nweb2'
ok "kxd-add-client-key: a last line without its end is not joined to the new one"

rm "$root/usr/bin/kxgencert"
rm "$root/etc/kxd/key.pem"
[[ $(status_of create-kxd-config a) != 0 && ! -e $root/etc/kxd/key.pem ]] || die "a failed kxgencert goes unnoticed"
ok "create-kxd-config: fails with kxgencert"

shells=(dash bash)
[[ -x $root/usr/bin/busybox ]] && shells+=("busybox sh")
for shell in "${shells[@]}"; do
	read -ra words <<< "$shell"
	printf 'kxd://a/x y\n' > "$root/etc/kxc/disk.url"
	run "${words[@]}" /usr/bin/kxc-cryptsetup disk
	same "$shell: a blank in the URL" "$(tail -n 1 <<< "${out%$'\n'}")" "[kxd://a/x y]"
	# shellcheck disable=SC2016 # must not be expanded
	printf '\nkxd://a/$HOME`id`\\\n\nkxd://b/*\nkxd://c/k' > "$root/etc/kxc/disk.url"
	printf -- '-retry=1m\n# a comment\n-timeout=2m' > "$root/etc/kxc/disk.flags"
	run "${words[@]}" /usr/bin/kxc-cryptsetup disk
	# shellcheck disable=SC2016
	same "$shell: several servers" "$out" '[--client_cert=/etc/kxc/cert.pem]
[--client_key=/etc/kxc/key.pem]
[--server_cert=/etc/kxc/disk.server_cert.pem]
[-retry=1m]
[-timeout=2m]
[--fallback_urls=kxd://b/* kxd://c/k]
[kxd://a/$HOME`id`\]
'
	rm "$root/etc/kxc/disk.flags"
done
ok "kxc-cryptsetup: several servers and more flags, in ${shells[*]}"

# A process that looks like systemd-cryptsetup.
sed -i 's,exec /usr/bin/kxc-cryptsetup,exec echo NAME,' "$root/usr/bin/kxc-answer-socket"
bash -c 'exec -a systemd-cryptsetup bash -c "sleep 60; :" x attach data /dev/sda3 /run/kxc/disk luks,_netdev' &
peer=$!
bash -c 'exec -a systemd-cryptsetup bash -c "sleep 60; :" x attach data /dev/sda3 /run/kxc/../key luks' &
stranger=$!
sleep 0.2
run kxc-answer-socket "12-$peer-0"
same "kxc-answer-socket" "$status $out$err" $'0 NAME disk\n'
for instance in "1-$stranger-0" 1-99999999-0 1--0 '' 1-self-0 ; do
	same "status of kxc-answer-socket '$instance'" "$(status_of kxc-answer-socket "$instance")" 1
done
kill "$peer" "$stranger"
ok "kxc-answer-socket: the key that the peer's command line names, and no other"
