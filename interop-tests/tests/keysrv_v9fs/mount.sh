#!/bin/bash
# Runs in interop-tests/kernel-vm, in the directory of inferno-auth: the kernel mounts what keyfs serves, a shell
# works on it. Prints what the test compares.
set -u
modprobe 9pnet_fd
export INFERNO_ROOT=/run/inferno
keys=$INFERNO_ROOT/mnt/keys
mkdir -p "$INFERNO_ROOT/keydb" "$keys"
: >"$INFERNO_ROOT/keydb/keys"
printf secret >/run/nvram
./inferno-auth keyfs -n /run/nvram -m /run/socket || echo "keyfs: $?"
mount -t 9p -o trans=unix,version=9p2000,uname=root,cache=none,msize=8216,dfltuid=0,dfltgid=0 \
    /run/socket "$keys" || echo "mount: $?"
cd "$keys" || exit
mkdir alice
printf 'alice in wonderland' >alice/secret
echo "secret: $(cat alice/secret)"
stat -c 'mode and length: %A %s' alice/secret
echo disabled >alice/status
echo "status: $(cat alice/status)"
# The kernel has no number for "user disabled".
cat alice/secret >/dev/null 2>&1 || echo unreadable
echo ok >alice/status
echo bad >alice/log
echo "log: $(cat alice/log)"
echo 20000000000 >alice/expire
echo "expire: $(cat alice/expire)"
echo "chmod: $(chmod 644 alice/secret 2>&1 | sed 's/.*: //')"
# One of our own programs, over the mounted files.
printf 'new password\nnew password\npermanent\n' | "$OLDPWD/inferno-auth" changelogin carol | tail -n 1 | sed 's/.*: //'
echo "users: $(find . -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs)"
echo "hash: $(od -An -tx1 carol/secret | tr -d ' \n')"
mv alice alicia && rmdir carol
echo "left: $(find . -mindepth 1 -maxdepth 1 -printf '%f\n' | xargs)"
cd /
umount "$keys"
# The same over a connection that somebody else has made.
python3 - <<'P'
import os, socket, subprocess
s = socket.socket(socket.AF_UNIX)
s.connect("/run/socket")
os.set_inheritable(s.fileno(), True)
os.makedirs("/run/again")
n = s.fileno()
subprocess.check_call(["mount", "-t", "9p", "-o", f"trans=fd,rfdno={n},wfdno={n},version=9p2000,cache=none", "none",
                       "/run/again"], close_fds=False)
print("again:", *os.listdir("/run/again"))
P
umount /run/again
