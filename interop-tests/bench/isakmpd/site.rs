//! An initiator and a responder with an address for each tunnel at both ends: peers that shared an address would
//! take each other's SAs away by INITIAL-CONTACT.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use interop_tests::isakmpd::daemon::Setup;
use interop_tests::isakmpd::network::Network;
use interop_tests::subject::workspace;

/// An address of the responder.
pub(crate) const RESPONDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// How a phase 1 is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pre-shared key, MODP group of 2048 bits.
    Group14,
    /// Pre-shared key, ECP group 19.
    Ecp256,
    /// RSA signatures with raw keys of 2048 bits, group 14.
    Rsa2048,
}

impl Kind {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Kind; 3] = [Kind::Group14, Kind::Ecp256, Kind::Rsa2048];

    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Group14 => "group 14",
            Kind::Ecp256 => "ECP-256",
            Kind::Rsa2048 => "RSA-2048",
        }
    }

    /// On the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Group14 => "group14",
            Kind::Ecp256 => "ecp256",
            Kind::Rsa2048 => "rsa2048",
        }
    }

    fn transform(self) -> &'static str {
        match self {
            Kind::Group14 => "AES-128-SHA2-256-GRP14",
            Kind::Ecp256 => "AES-128-SHA2-256-GRP19",
            Kind::Rsa2048 => "AES-128-SHA2-256-GRP14-RSA_SIG",
        }
    }
}

/// Address of the initiator (0) or the responder (1) for a peer; never the last octet 0 or 255.
fn address(side: u32, peer: usize) -> Ipv4Addr {
    let number = u32::try_from(peer).unwrap_or(0);
    Ipv4Addr::from(0x0a50_0000 + (side << 16) + ((number / 200) << 8) + number % 200 + 1)
}

/// A host behind the initiator for a peer's tunnel.
fn inside(peer: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + u32::try_from(peer).unwrap_or(0))
}

/// Two hosts with an address for each peer.
pub(crate) fn network(peers: usize) -> Network {
    let network = Network::cable();
    for (side, host) in [(0, &network.left), (1, &network.right)] {
        let mut batch = String::new();
        for peer in 0..peers {
            let _ = writeln!(batch, "addr add {}/32 dev wire", address(side, peer));
        }
        let file = host.dir().join("addresses");
        std::fs::write(&file, batch).expect("a list of addresses");
        host.script(&format!("ip -batch {}", file.display()));
    }
    // Answers to spoofed messages go to a neighbour that takes everything, too.
    network.right.script(
        "ip route add 10.80.0.0/16 via 10.77.0.1; ip route add 172.16.0.0/12 via 10.77.0.1",
    );
    network
        .left
        .script("ip route add 10.81.0.0/16 via 10.77.0.2");
    network
}

/// Configurations of both sides: the initiator's, the responder's.
pub(crate) fn setups(kind: Kind, peers: usize) -> [Setup; 2] {
    let common = format!(
        "[net-r]\nID-type= IPV4_ADDR_SUBNET\nNetwork= 192.168.102.0\nNetmask= 255.255.255.0\n\
         [net-s]\nID-type= IPV4_ADDR_SUBNET\nNetwork= 192.168.103.0\nNetmask= 255.255.255.0\n\
         [mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= ID_PROT\nTransforms= {}\n\
         [qm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-128-SHA2-256-SUITE\n",
        kind.transform()
    );
    // A second tunnel for each peer shows what a Quick Mode alone costs.
    let tunnels = [("conn", "net-r"), ("more", "net-s")];
    let names = tunnels
        .iter()
        .flat_map(|(tunnel, _)| (0..peers).map(move |n| format!("{tunnel}-{n}")));
    let names: Vec<String> = names.collect();
    // Both take every address they have: a socket for each.
    let mut left = common.clone();
    let mut right = format!(
        "{common}[Phase 2]\nPassive-connections= {}\n[Phase 1]\n",
        names.join(",")
    );
    for peer in 0..peers {
        let _ = writeln!(right, "{}= peer-{peer}", address(0, peer));
    }
    for peer in 0..peers {
        let (own, other) = (address(0, peer), address(1, peer));
        let inside = inside(peer);
        let same = "Configuration= mm-x\nAuthentication= mekmitasdigoat\n";
        let host = format!("[host-{peer}]\nID-type= IPV4_ADDR\nAddress= {inside}\n");
        let _ = write!(
            left,
            "[peer-{peer}]\nPhase= 1\nLocal-address= {own}\nAddress= {other}\n{same}{host}"
        );
        let _ = write!(
            right,
            "[peer-{peer}]\nPhase= 1\nLocal-address= {other}\nAddress= {own}\n{same}{host}"
        );
        for (tunnel, net) in tunnels {
            let host = format!("host-{peer}");
            for (text, own, other) in [(&mut left, host.as_str(), net), (&mut right, net, &host)] {
                let _ = write!(
                    text,
                    "[{tunnel}-{peer}]\nPhase= 2\nISAKMP-peer= peer-{peer}\nConfiguration= qm-x\n\
                     Local-ID= {own}\nRemote-ID= {other}\n"
                );
            }
        }
    }
    let setup = |text: String| Setup::new(text).option("-T");
    let (mut left, mut right) = (setup(left), setup(right));
    if kind == Kind::Rsa2048 {
        left = left.file("private/local.key", key("A.key"), 0o600);
        right = right.file("private/local.key", key("B.key"), 0o600);
        for peer in 0..peers {
            let name = |side| format!("pubkeys/ipv4/{}", address(side, peer));
            left = left.file(&name(1), key("B.pub"), 0o644);
            right = right.file(&name(0), key("A.pub"), 0o644);
        }
    }
    [left, right]
}

/// An isakmpd as initiator, and charon's swanctl.conf with the files that belong to it. ESP of charon is encapsulated,
/// since the machine's kernel may have none: so NAT traversal is on.
pub(crate) fn with_charon(
    kind: Kind,
    peers: usize,
) -> (Setup, String, Vec<(&'static str, Vec<u8>)>) {
    let [mut left, _] = setups(kind, peers);
    left.options.retain(|option| option != "-T");
    let proposal = match kind {
        Kind::Group14 | Kind::Rsa2048 => "aes128-sha256-modp2048",
        Kind::Ecp256 => "aes128-sha256-ecp256",
    };
    let signs = kind == Kind::Rsa2048;
    let auth = |key: &str| match signs {
        true => format!("auth = pubkey\npubkeys = {key}.pub"),
        false => "auth = psk".to_owned(),
    };
    let mut conf = "connections {\n".to_owned();
    for peer in 0..peers {
        let (own, other) = (address(1, peer), address(0, peer));
        let inside = inside(peer);
        let child = |name: &str, net: &str| {
            format!(
                "{name}-{peer} {{\nlocal_ts = {net}/24\nremote_ts = {inside}/32\n\
                 esp_proposals = aes128-sha256\n}}\n"
            )
        };
        let children = child("conn", "192.168.102.0") + &child("more", "192.168.103.0");
        let (local, remote) = (auth("B"), auth("A"));
        let _ = write!(
            conf,
            "peer-{peer} {{\nversion = 1\nencap = yes\nproposals = {proposal}\nlocal_addrs = {own}\n\
             remote_addrs = {other}\nlocal {{\n{local}\nid = {own}\n}}\nremote {{\n{remote}\nid = {other}\n}}\n\
             children {{\n{children}}}\n}}\n"
        );
    }
    conf.push_str("}\nsecrets { ike-x { secret = mekmitasdigoat } }\n");
    let files = match signs {
        true => vec![
            ("rsa/B.key", key("B.key")),
            ("pubkey/A.pub", key("A.pub")),
            ("pubkey/B.pub", key("B.pub")),
        ],
        false => Vec::new(),
    };
    (left, conf, files)
}

fn key(name: &str) -> Vec<u8> {
    let vectors = workspace().join("interop-tests/vectors/isakmpd/mm-rsa-rawpubkey");
    read(&vectors.join(name))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
