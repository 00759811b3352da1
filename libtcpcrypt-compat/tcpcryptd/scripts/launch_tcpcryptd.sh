#!/bin/sh
# Runs tcpcryptd with the rules that it needs, and removes them when it ends. For machines without
# a service manager; the unit tcpcryptd.service does the same.
#
# Environment:
#   OPTS         more options for tcpcryptd
#   ONLY_PORTS   encrypt connections with these ports only
#   OMIT_PORTS   encrypt all but these; the default leaves out what is encrypted by itself
#   MODE         redirect (default, as it was with the original), where the daemon is a proxy and the
#                kernel's TCP carries the octets; or divert, where all packets go through the daemon
#   MARK, PLAIN_MARK, RULES, IPV6
#                see iptables.sh; the daemon gets the marks with -x
#   TCPCRYPTD    the daemon; by default the one beside this script, or the one in the path

BASE=$(dirname "$0")
DIVERT_PORT=666
PIDFILE=/var/run/tcpcrypt.pid
JAIL_DIR=/var/run/tcpcryptd
DAEMON_USER=tcpcryptd
if [ -z "$ONLY_PORTS" ] && [ -z "$OMIT_PORTS" ]; then
    OMIT_PORTS="22,261,443,563,614,636,684,695,989,990,992:995"
fi
MODE=${MODE:-redirect}
export DAEMON_USER DIVERT_PORT ONLY_PORTS OMIT_PORTS MODE MARK PLAIN_MARK
MARKS=
[ "$MODE" != redirect ] || MARKS=-e
[ -z "$MARK" ] || MARKS="$MARKS -x $MARK"
[ -z "$MARK" ] || [ -z "$PLAIN_MARK" ] || MARKS="$MARKS -x $PLAIN_MARK"

# Beside this script in the sources, in the usual places once installed.
find_parts() {
    for RULE_SCRIPT in "$BASE/iptables.sh" /usr/share/tcpcryptd/iptables.sh; do
        [ -x "$RULE_SCRIPT" ] && break
    done
    if [ -z "$TCPCRYPTD" ]; then
        TCPCRYPTD=$BASE/tcpcryptd
        [ -x "$TCPCRYPTD" ] || TCPCRYPTD=tcpcryptd
    fi
}

check_root() {
    if [ "$(id -u)" != 0 ]; then
        echo "must be root"
        exit 1
    fi
}

check_running() {
    running=$(ps axo pid,comm | awk '$2 == "tcpcryptd" { printf "%s ", $1 }')
    [ -n "$running" ] || return
    printf 'tcpcryptd already running with pid %s. Proceed? [y/N] ' "${running% }"
    read -r answer
    [ "$answer" = y ] || exit 1
}

make_jail() {
    if [ ! -d "$JAIL_DIR" ]; then
        echo "Creating jail directory $JAIL_DIR"
        (umask 077 && mkdir "$JAIL_DIR") || exit 1
    fi
    if ! id "$DAEMON_USER" >/dev/null 2>&1; then
        echo "Creating user and group '$DAEMON_USER'"
        useradd -s /usr/bin/nologin -d / -M -U "$DAEMON_USER" || exit 1
    fi
}

add_rules() {
    "$RULE_SCRIPT" start || {
        echo "Couldn't set iptables" >&2
        exit 1
    }
}

# The daemon goes first: its last packets, which reset encrypted connections, need the rules.
finish() {
    trap '' INT TERM HUP
    echo "Removing iptables rules and quitting tcpcryptd..."
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null
        wait "$child"
        code=$?
    fi
    "$RULE_SCRIPT" stop
    rm -f "$PIDFILE"
    exit "${code:-0}"
}

find_parts
check_running
check_root
make_jail
add_rules
trap finish INT TERM HUP

# shellcheck disable=SC2086
"$TCPCRYPTD" -U "$DAEMON_USER" -J "$JAIL_DIR" -p "$DIVERT_PORT" -f $MARKS $OPTS &
child=$!
echo $child >"$PIDFILE"
wait $child
code=$?
child=
finish
