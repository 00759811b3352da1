//! Our script of the packet filter's rules, as it is shipped, on a host of a laboratory.

use crate::lab::PORT;
use crate::lab::host::Host;
use crate::subject::workspace;

/// Rules of iptables.
pub const LEGACY: &str = "RULES=iptables";
/// Rules of nftables.
pub const NFT: &str = "RULES=nft";

/// Does `word` (start, stop) with the laboratory's port and queue; `variables` are more of the script's.
pub fn run(host: &Host, variables: &str, word: &str) {
    let script = workspace().join("libtcpcrypt-compat/tcpcryptd/scripts/iptables.sh");
    host.script(&format!(
        "DAEMON_USER=nobody DIVERT_PORT=666 ONLY_PORTS={PORT} IPTABLES=iptables-legacy \
         IP6TABLES=ip6tables-legacy {variables} {} {word}",
        script.display()
    ));
}

/// What the kernel has of rules that name a queue.
pub fn left(host: &Host) -> String {
    host.output(
        "iptables-legacy-save | grep NFQUEUE; ip6tables-legacy-save | grep NFQUEUE; \
         nft list tables 2>/dev/null",
    )
}
