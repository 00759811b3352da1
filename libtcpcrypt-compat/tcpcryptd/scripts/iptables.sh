#!/bin/sh
# Gives TCP packets to tcpcryptd, or stops that.
#
#   iptables.sh [start]   adds the rules; the first one that fails ends it with 1
#   iptables.sh stop      removes them (also: -f). A tcpcryptd that still runs is told before, and resets
#                         its encrypted connections: without rules their plain text would leave
#
# Environment:
#   ONLY_PORTS    these ports, in the notation of iptables' multiport match: 80,8000:8100
#   OMIT_PORTS    all but these; exactly one of the two has to be there
#   DAEMON_USER   the user that tcpcryptd becomes
#   DIVERT_PORT   the number of its queue
#   MODE          divert (default), or redirect for a daemon with the option -e
#   MARK          optional, divert mode: the mark of its first option -x, in hexadecimal
#   PLAIN_MARK    optional, with MARK: that of the second -x. Connections that turn out to be plain
#                 leave the queue then; this needs connection tracking
#   RULES         optional: nft, iptables, or auto (nft where the kernel has queues for it)
#   IPTABLES      optional: the program, iptables by default
#   IPV6          optional: yes, no, or auto (where the system has it); the rules for IPv4 are there
#                 in any case
#   IP6TABLES     optional: the program for IPv6, ip6tables by default
#   ECHO          optional: echo shows the commands and runs none
#
# The rules of redirect mode ask the daemon for each new connection: it marks the SYN of those that
# are to be redirected to it. Without a daemon nothing is marked, and so nothing redirected.
#
# The rules let packets pass when no daemon listens (bypass): connections that were plain go on, and
# new ones are plain. Those of divert mode stand in the mangle tables of INPUT and OUTPUT, where both
# directions show the same addresses, and where a filter comes after the daemon and still has its say.
# Loopback is left alone. What routers, or this host itself, say of packets that are too long for a
# link (ICMP) goes by the queue, too: it quotes numbers that the kernel does not know. What the daemon
# itself sends to the network is known by its mark and goes by
# the queue; the mark is taken off.

TABLE=tcpcryptd
PROXY_PORT=65530
HANDSHAKE_TOS=0x04
HANDSHAKE_DSCP=1
REDIRECT_MARK=0x80000
ENDING_MARK=0x100000
WATCHED_MARK=0x800000
END_MARKS=0x900000
NEAR_MARK=0x40000
PROGRAM_MARK=0x20000
NEAR_TABLE=65530
OWN=0x74637001
QUEUES=/proc/net/netfilter/nfnetlink_queue

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
case "${MODE:-divert}" in
    divert | redirect) ;;
    *) complain "MODE is divert or redirect" ;;
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

# Connections to servers of this host are made in the name of their clients: so servers see whom they
# serve. What belongs to them is marked, a server's sockets take the mark over from the SYN, refusals from
# what they answer, and what is marked stays on this host. The daemon finds the route by its source, or does
# without: then servers see an address of this host. The number of the rule keeps in mind which of the two
# settings were there before: 1 for the first, 2 for the second.
near_start() {
    [ "$MODE" = redirect ] || return 0
    # It may have been started before.
    [ -n "$ECHO" ] || near_stop
    near_start_for 4 0.0.0.0/0 127.0.0.1
    [ "$six" = no ] || near_start_for 6 ::/0 ::1
}

# $1: the version of IP, $2: every address of it, $3: the one of loopback.
near_start_for() {
    number=32000
    [ "$(near_get ipv4/tcp_fwmark_accept)" != 1 ] || number=$((number + 1))
    [ "$(near_get "ipv$1/fwmark_reflect")" != 1 ] || number=$((number + 2))
    # The route is the last, since the daemon takes it for all of this.
    {
        $ECHO ip "-$1" rule add pref $number fwmark $NEAR_MARK/$NEAR_MARK lookup $NEAR_TABLE &&
            near_set ipv4/tcp_fwmark_accept 1 &&
            near_set "ipv$1/fwmark_reflect" 1 &&
            $ECHO ip "-$1" route add local "$2" dev lo src "$3" table $NEAR_TABLE
    } 2>/dev/null || {
        near_stop_for "$@"
        echo "No IPv$1 route for connections to servers: they see an address of this host" >&2
    }
}

near_get() {
    cat "/proc/sys/net/$1" 2>/dev/null
}

near_set() {
    if [ -n "$ECHO" ]; then
        $ECHO "echo $2 >/proc/sys/net/$1"
    else
        echo "$2" >"/proc/sys/net/$1"
    fi
}

near_stop() {
    [ "$MODE" = redirect ] || return 0
    # The other way round: each puts back what it found.
    [ "$six" = no ] || near_stop_for 6 ::/0 ::1
    near_stop_for 4 0.0.0.0/0 127.0.0.1
}

near_stop_for() {
    $ECHO ip "-$1" route del local "$2" dev lo src "$3" table $NEAR_TABLE 2>/dev/null
    for before in 0 1 2 3; do
        $ECHO ip "-$1" rule del pref $((32000 + before)) fwmark $NEAR_MARK/$NEAR_MARK \
            lookup $NEAR_TABLE 2>/dev/null || continue
        [ -z "$ECHO" ] || continue
        [ $((before & 1)) != 0 ] || near_set ipv4/tcp_fwmark_accept 0
        [ $((before & 2)) != 0 ] || near_set "ipv$1/fwmark_reflect" 0
    done
    return 0
}

# The same as redirect_rules, below.
nft_redirect_rules() {
    set=$(echo "$PORTS" | sed 's/:/-/g; s/,/, /g')
    if [ -n "$OMIT_PORTS" ]; then to="tcp dport != { $set }"; else to="tcp dport { $set }"; fi
    if [ -n "$OMIT_PORTS" ]; then from="tcp sport != { $set }"; else from="tcp sport { $set }"; fi
    queue="queue num $DIVERT_PORT bypass"
    syn="tcp flags & (syn | ack | rst | fin) == syn"
    answer="tcp flags & (syn | ack | rst | fin) == syn | ack"
    bare="tcp flags & (syn | ack | rst | fin) == ack"
    reset="tcp flags & (syn | ack | rst | fin) == rst"
    other="tcp flags & (syn | ack) != syn"
    handshakes="        $to ip dscp $HANDSHAKE_DSCP $other $queue"
    clear="        meta l4proto tcp ip dscp $HANDSHAKE_DSCP ip dscp set 0"
    if [ $FAMILY = inet ]; then
        handshakes="$handshakes
        $to ip6 dscp $HANDSHAKE_DSCP $other $queue"
        clear="$clear
        meta l4proto tcp ip6 dscp $HANDSHAKE_DSCP ip6 dscp set 0"
    fi
    cat <<END
table $FAMILY $TABLE {
    chain near {
        type filter hook output priority raw; policy accept;
        oifname lo meta mark & $NEAR_MARK == $NEAR_MARK notrack
        tcp sport $PROXY_PORT $reset $queue
    }
    chain output {
        type route hook output priority mangle; policy accept;
        oifname != lo $to $syn meta mark & $PROGRAM_MARK == 0 $queue
        tcp sport $PROXY_PORT $answer $queue
        $to $syn meta mark & $PROGRAM_MARK == $PROGRAM_MARK ct mark set ct mark | $PROGRAM_MARK
        $to $bare meta mark & $PROGRAM_MARK == $PROGRAM_MARK meta length <= 100 drop
$handshakes
        meta l4proto tcp meta mark & $WATCHED_MARK == $WATCHED_MARK ct mark set ct mark | $WATCHED_MARK
        meta l4proto tcp meta mark & $ENDING_MARK == $ENDING_MARK ct mark set ct mark | $ENDING_MARK
        meta l4proto tcp meta mark & $WATCHED_MARK == $WATCHED_MARK $queue
    }
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        iifname != lo $to $syn fib daddr type local $queue
    }
    chain input {
        type filter hook input priority mangle; policy accept;
        iifname != lo $from $answer ct mark & $PROGRAM_MARK == 0 $queue
        ct mark & $ENDING_MARK == $ENDING_MARK $other $queue
        ct mark & $WATCHED_MARK == $WATCHED_MARK tcp flags & (syn | fin) == fin $queue
    }
    chain postrouting {
        type filter hook postrouting priority mangle; policy accept;
$clear
    }
    chain redirect_output {
        type nat hook output priority -100; policy accept;
        meta l4proto tcp meta mark & $REDIRECT_MARK == $REDIRECT_MARK redirect to :$PROXY_PORT
    }
    chain redirect_prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        meta l4proto tcp meta mark & $REDIRECT_MARK == $REDIRECT_MARK redirect to :$PROXY_PORT
    }
}
END
}

# The whole table at once: it is there, or it is not.
nft_rules() {
    if [ "$MODE" = redirect ]; then
        nft_redirect_rules
        return
    fi
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
    if [ "$MODE" = redirect ]; then
        redirect_rules "$1"
        return
    fi
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

# One rule of a table. $1: the table, $2: -A or -D.
rule_in() {
    table=$1
    shift
    $ECHO "$program" -t "$table" "$@" && return
    result=$?
    [ "$1" = -D ] || return $result
}

# The marks and the type of service are the daemon's (src/redirect/mod.rs).
# $1: -A or -D. The result is that of the last rule that failed.
redirect_rules() {
    if [ -n "$OMIT_PORTS" ]; then not='!'; else not=; fi
    queue="-j NFQUEUE --queue-num $DIVERT_PORT --queue-bypass"
    syn="--tcp-flags SYN,ACK,RST,FIN SYN"
    answer="--tcp-flags SYN,ACK,RST,FIN SYN,ACK"
    to="-p tcp -m multiport $not --dports $PORTS"
    from="-p tcp -m multiport $not --sports $PORTS"
    bare="--tcp-flags SYN,ACK,RST,FIN ACK"
    reset="--tcp-flags SYN,ACK,RST,FIN RST"
    by_program=$PROGRAM_MARK/$PROGRAM_MARK
    asked="-p tcp -m mark --mark $REDIRECT_MARK/$REDIRECT_MARK"
    redirect="-j REDIRECT --to-ports $PROXY_PORT"
    # Words are meant to be split here.
    # shellcheck disable=SC2086
    {
        # The other half has the same ends.
        rule_in raw "$1" OUTPUT -o lo -p tcp -m mark --mark $NEAR_MARK/$NEAR_MARK -j CT --notrack || return
        # Before connection tracking believes them: some kernels reset what stands.
        rule_in raw "$1" OUTPUT -p tcp --sport $PROXY_PORT $reset $queue || return
        # New connections: the daemon says whether it wants them.
        rule_in mangle "$1" OUTPUT ! -o lo $to $syn -m mark ! --mark $by_program $queue || return
        rule_in mangle "$1" PREROUTING ! -i lo $to $syn -m addrtype --dst-type LOCAL $queue || return
        rule_in nat "$1" OUTPUT $asked $redirect || return
        rule_in nat "$1" PREROUTING $asked $redirect || return
        # The answer to whoever was redirected waits for the other half.
        rule_in mangle "$1" OUTPUT -p tcp --sport $PROXY_PORT $answer $queue || return
        # The daemon's own handshakes, where no program in the kernel does them.
        rule_in mangle "$1" INPUT ! -i lo $from $answer -m connmark ! --mark $by_program $queue || return
        rule_in mangle "$1" OUTPUT $to -m tos --tos $HANDSHAKE_TOS ! --syn $queue || return
        rule_in mangle "$1" POSTROUTING -p tcp -m tos --tos $HANDSHAKE_TOS \
            -j TOS --set-tos 0x00 || return
        # Where one does, a segment behind the SYNs has data, or the original would not take it.
        rule_in mangle "$1" OUTPUT $to $syn -m mark --mark $by_program \
            -j CONNMARK --save-mark --nfmask $PROGRAM_MARK --ctmask $PROGRAM_MARK || return
        rule_in mangle "$1" OUTPUT $to $bare -m mark --mark $by_program -m length --length 0:100 -j DROP || return
        # Connections with the original, which counts in its own way: all that we send, and the end of what it sends.
        rule_in mangle "$1" OUTPUT -p tcp -m mark --mark $WATCHED_MARK/$WATCHED_MARK \
            -j CONNMARK --save-mark --nfmask $END_MARKS --ctmask $END_MARKS || return
        rule_in mangle "$1" OUTPUT -p tcp -m mark --mark $WATCHED_MARK/$WATCHED_MARK $queue || return
        rule_in mangle "$1" INPUT -p tcp -m connmark --mark $ENDING_MARK/$ENDING_MARK \
            ! --syn $queue || return
        rule_in mangle "$1" INPUT -p tcp -m connmark --mark $WATCHED_MARK/$WATCHED_MARK \
            --tcp-flags SYN,FIN FIN $queue || return
    }
    return "$result"
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

# The owner is dead: its guard has the queue, and resets connections for two seconds at most.
wait_for_guard() {
    for _ in 1 2 3; do
        grep -q "^ *$DIVERT_PORT " "$QUEUES" || return
        sleep 1
    done
}

# Tells the daemon that has the queue. Others than ours would die of the signal; ours collects it, as the
# mask of blocked signals shows. A second is much more than it needs.
warn_daemon() {
    while read -r number owner _; do
        [ "$number" = "$DIVERT_PORT" ] || continue
        case "$owner" in *[!0-9]*) continue ;; esac
        [ -e "/proc/$owner" ] || wait_for_guard
        [ "$(cat "/proc/$owner/comm" 2>/dev/null)" = tcpcryptd ] || continue
        blocked=$(sed -n 's/^SigBlk:[[:space:]]*//p' "/proc/$owner/status")
        [ $((0x${blocked:-0} & 0x800)) -ne 0 ] || continue
        kill -USR2 "$owner" && sleep 1
    done
}

if [ $ACTION = stop ] && [ -z "$ECHO" ] && [ -r $QUEUES ]; then
    warn_daemon <$QUEUES
fi

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

[ $ACTION = start ] || near_stop
${kind}_$ACTION || exit
[ $ACTION = stop ] || near_start
