#!/bin/sh
# Gives TCP packets to tcpcryptd, or stops that.
#
#   iptables.sh [start]   adds the rules; the first one that fails ends it with 1
#   iptables.sh stop      removes them (also: -f)
#
# Environment:
#   ONLY_PORTS    these ports, in the notation of iptables' multiport match: 80,8000:8100
#   OMIT_PORTS    all but these; exactly one of the two has to be there
#   DAEMON_USER   the user that tcpcryptd becomes
#   DIVERT_PORT   the number of its queue
#   MARK          optional: the mark of its first option -x, in hexadecimal
#   PLAIN_MARK    optional, with MARK: that of the second -x. Connections that turn out to be plain
#                 leave the queue then; this needs connection tracking
#   RULES         optional: nft, iptables, or auto (nft where the kernel has queues for it)
#   IPTABLES      optional: the program, iptables by default
#   IPV6          optional: yes, no, or auto (where the system has it); the rules for IPv4 are there
#                 in any case
#   IP6TABLES     optional: the program for IPv6, ip6tables by default
#   ECHO          optional: echo shows the commands and runs none
#
# The rules let packets pass when no daemon listens (bypass): connections that were plain go on, and
# new ones are plain. They stand in the mangle tables of INPUT and OUTPUT, where both directions
# show the same addresses, and where a filter comes after the daemon and still has its say.
# Loopback is left alone. What routers, or this host itself, say of packets that are too long for a link (ICMP)
# goes by the queue, too: it quotes numbers that the kernel does not know. What the daemon itself sends to the network is known by its mark and goes by
# the queue; the mark is taken off.

TABLE=tcpcryptd
OWN=0x74637001

complain() {
    echo "$@" >&2
    exit 1
}

case "$1" in
    start | "") ACTION=start ;;
    stop | -f) ACTION=stop ;;
    *) complain 'Say "start" or "stop" as the first argument' ;;
esac

[ -n "$ONLY_PORTS$OMIT_PORTS" ] ||
    complain "One of the variables OMIT_PORTS and ONLY_PORTS has to be set"
[ -z "$ONLY_PORTS" ] || [ -z "$OMIT_PORTS" ] ||
    complain "Only one of the variables OMIT_PORTS and ONLY_PORTS may be set"
[ -n "$DAEMON_USER" ] || complain "The variable DAEMON_USER has to be set"
[ -n "$DIVERT_PORT" ] || complain "The variable DIVERT_PORT has to be set"

PORTS=$ONLY_PORTS$OMIT_PORTS
case "$PORTS$DIVERT_PORT$MARK$PLAIN_MARK" in
    *[!0-9a-fA-FxX,:]*) complain "Ports, queue and mark are numbers" ;;
esac
MARK=${MARK#0[xX]}
PLAIN_MARK=${PLAIN_MARK#0[xX]}
[ -n "$MARK" ] || PLAIN_MARK=
[ -z "$MARK" ] || BOTH=$(printf '0x%x' $((0x$MARK | 0x${PLAIN_MARK:-0})))
IPTABLES=${IPTABLES:-iptables}
IP6TABLES=${IP6TABLES:-ip6tables}
IPV6=${IPV6:-auto}
case "$IPV6" in
    yes | no) six=$IPV6 ;;
    auto) if [ -e /proc/net/if_inet6 ]; then six=yes; else six=no; fi ;;
    *) complain "IPV6 is yes, no or auto" ;;
esac
# One table for both families.
if [ "$six" = yes ]; then FAMILY=inet; else FAMILY=ip; fi

# $1: a match. Whatever the ports: they are those of the quoted packet.
too_big() {
    echo "        $1 $queue"
    [ -z "$clear" ] || echo "        $1 meta mark & 0x$MARK == 0x$MARK $clear accept"
}

# The whole table at once: it is there, or it is not.
nft_rules() {
    set=$(echo "$PORTS" | sed 's/:/-/g; s/,/, /g')
    queue="queue num $DIVERT_PORT bypass"
    [ -z "$MARK" ] || queue="meta mark & 0x$MARK == 0 $queue"
    if [ -n "$MARK" ]; then clear="meta mark set meta mark & ($BOTH ^ 0xffffffff)"; else clear=; fi
    echo "table $FAMILY $TABLE {"
    for hook in input output; do
        case $hook in
            input) interface=iifname type=filter ;;
            # As the mangle table: what is changed finds its route again.
            output) interface=oifname type=route ;;
        esac
        echo "    chain $hook {"
        echo "        type $type hook $hook priority mangle; policy accept;"
        # What this host says to itself comes by the loopback interface.
        if [ $hook = input ]; then
            too_big 'icmp type destination-unreachable icmp code 4'
            [ "$six" = no ] || too_big 'icmpv6 type packet-too-big'
        fi
        echo "        $interface lo accept"
        echo "        meta l4proto != tcp accept"
        [ $hook = input ] || echo "        meta mark $OWN meta mark set 0 accept"
        if [ -n "$PLAIN_MARK" ]; then
            echo "        ct mark & 0x$PLAIN_MARK == 0x$PLAIN_MARK accept"
            echo "        meta mark & 0x$PLAIN_MARK == 0x$PLAIN_MARK ct mark set ct mark | 0x$PLAIN_MARK"
        fi
        if [ -n "$OMIT_PORTS" ]; then
            echo "        tcp dport { $set } accept"
            echo "        tcp sport { $set } accept"
            echo "        $queue"
        else
            echo "        tcp dport { $set } $queue"
            echo "        tcp sport { $set } $queue"
        fi
        [ -z "$clear" ] || echo "        meta mark & 0x$MARK == 0x$MARK $clear"
        echo "    }"
    done
    echo "}"
}

nft_start() {
    if [ -n "$ECHO" ]; then
        $ECHO "nft -f - <<END"
        nft_rules | while read -r line; do $ECHO "$line"; done
        $ECHO "END"
    else
        nft_rules | nft -f -
    fi
}

# An earlier version may have made the other one.
nft_family() {
    for family in inet ip; do
        nft list table $family $TABLE >/dev/null 2>&1 && echo $family && return
    done
    return 1
}

nft_stop() {
    [ -n "$ECHO" ] || FAMILY=$(nft_family) || FAMILY=ip
    $ECHO nft delete table "$FAMILY" $TABLE
}

# One rule. $1: -A or -D. A rule that cannot be removed does not keep the others.
rule() {
    $ECHO "$program" -t mangle "$@" && return
    result=$?
    [ "$1" = -D ] || return $result
}

# $1: -A or -D, $2: the program. The result is that of the last rule that failed.
iptables_rules() {
    result=0
    program=$2
    if [ -n "$OMIT_PORTS" ]; then not='!'; else not=; fi
    case $2 in
        "$IP6TABLES") too_big='-p icmpv6 --icmpv6-type packet-too-big' ;;
        *) too_big='-p icmp --icmp-type fragmentation-needed' ;;
    esac
    for chain in INPUT OUTPUT; do
        case $chain in
            INPUT) interface=-i ;;
            OUTPUT) interface=-o ;;
        esac
        ours="! $interface lo -p tcp -m multiport $not --ports $PORTS"
        # Words are meant to be split here.
        # shellcheck disable=SC2086
        if [ -n "$PLAIN_MARK" ]; then
            plain=0x$PLAIN_MARK/0x$PLAIN_MARK
            rule "$1" $chain $ours -m connmark --mark $plain -j ACCEPT || return
            rule "$1" $chain $ours -m mark --mark $plain \
                -j CONNMARK --set-xmark $plain || return
        fi
        unseen=
        [ -z "$MARK" ] || unseen="-m mark --mark 0x0/0x$MARK"
        if [ $chain = INPUT ]; then
            # What this host says to itself comes by the loopback interface. The ports are those of the quoted packet.
            # shellcheck disable=SC2086
            rule "$1" INPUT $too_big $unseen \
                -j NFQUEUE --queue-num "$DIVERT_PORT" --queue-bypass || return
            # shellcheck disable=SC2086
            [ -z "$MARK" ] || rule "$1" INPUT $too_big -m mark --mark 0x$MARK/0x$MARK \
                -j MARK --set-xmark 0x0/$BOTH || return
        else
            unseen="$unseen -m mark ! --mark $OWN"
        fi
        # shellcheck disable=SC2086
        rule "$1" $chain $ours $unseen \
            -j NFQUEUE --queue-num "$DIVERT_PORT" --queue-bypass || return
        # shellcheck disable=SC2086
        [ $chain = INPUT ] || rule "$1" $chain $ours -m mark --mark $OWN \
            -j MARK --set-xmark 0x0 || return
        # The marks have done their work; routing rules may know the same bits.
        # shellcheck disable=SC2086
        [ -z "$MARK" ] || rule "$1" $chain $ours -m mark --mark 0x$MARK/0x$MARK \
            -j MARK --set-xmark 0x0/$BOTH || return
    done
    return $result
}

# Half of the rules would encrypt nothing and cost the way through the queue.
iptables_undo() {
    [ -n "$ECHO" ] || iptables_rules -D "$1" 2>/dev/null
}

iptables_start() {
    iptables_rules -A "$IPTABLES" || {
        result=$?
        iptables_undo "$IPTABLES"
        return $result
    }
    [ "$six" = yes ] || return 0
    iptables_rules -A "$IP6TABLES" && return
    failed=$?
    iptables_undo "$IP6TABLES"
    if [ "$IPV6" = auto ]; then
        echo "No rules for IPv6: connections over it are not encrypted" >&2
        return 0
    fi
    iptables_undo "$IPTABLES"
    return $failed
}

iptables_stop() {
    iptables_rules -D "$IPTABLES"
    four=$result
    if [ "$six" = yes ]; then
        # There may be none.
        if [ "$IPV6" = auto ] && [ -z "$ECHO" ]; then
            iptables_rules -D "$IP6TABLES" 2>/dev/null
        else
            iptables_rules -D "$IP6TABLES" || return
        fi
    fi
    return $four
}

# The kernel may have nftables and no queues for them; the check does not change anything.
nft_works() {
    command -v nft >/dev/null 2>&1 && nft_rules | nft -c -f - 2>/dev/null
}

case "${RULES:-auto}" in
    nft) kind=nft ;;
    iptables) kind=iptables ;;
    auto)
        if [ $ACTION = stop ] && [ -z "$ECHO" ] && nft_family >/dev/null; then
            kind=nft
        elif [ $ACTION = start ] && nft_works; then
            kind=nft
        else
            kind=iptables
        fi
        ;;
    *) complain "RULES is nft, iptables or auto" ;;
esac

${kind}_$ACTION
