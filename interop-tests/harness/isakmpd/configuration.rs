//! isakmpd.conf texts as sites have them.

use std::fmt::Write;

/// One tunnel to one peer, and what a test changes of it.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// Address that is listened on.
    pub local: String,
    /// The peer's address.
    pub remote: String,
    /// Network behind this side; or one address, if it ends in neither `.0` nor `::`.
    pub local_net: &'static str,
    /// Network behind the peer.
    pub remote_net: &'static str,
    /// `ID_PROT` or `AGGRESSIVE`.
    pub exchange: &'static str,
    /// Names of phase 1 transforms.
    pub transforms: String,
    /// Names of suites.
    pub suites: String,
    /// The pre-shared key, if that is how peers authenticate.
    pub key: Option<String>,
    /// Type and value of the own phase 1 identity.
    pub id: Option<(&'static str, String)>,
    /// Type and value of the identity that is expected of the peer.
    pub remote_id: Option<(&'static str, String)>,
    /// In `Connections` and not only in `Passive-connections`.
    pub kept_up: bool,
    /// Lines for `[General]`.
    pub general: Vec<String>,
    /// Lines for the peer's section.
    pub peer: Vec<String>,
    /// Lines for the connection's section.
    pub connection: Vec<String>,
    /// Sections at the end.
    pub more: String,
}

impl Tunnel {
    /// The left host's, to the right one: pre-shared key, `AES-SHA2-256-GRP14`, `QM-ESP-AES-SHA2-256-SUITE`.
    pub fn left() -> Tunnel {
        Tunnel::between("10.77.0.1", "10.77.0.2", "192.168.101.0", "192.168.102.0")
    }

    /// The right host's, to the left one.
    pub fn right() -> Tunnel {
        Tunnel::between("10.77.0.2", "10.77.0.1", "192.168.102.0", "192.168.101.0")
    }

    /// A tunnel between two addresses.
    pub fn between(
        local: &str,
        remote: &str,
        local_net: &'static str,
        remote_net: &'static str,
    ) -> Tunnel {
        Tunnel {
            local: local.to_owned(),
            remote: remote.to_owned(),
            local_net,
            remote_net,
            exchange: "ID_PROT",
            transforms: "AES-SHA2-256-GRP14".to_owned(),
            suites: "QM-ESP-AES-SHA2-256-SUITE".to_owned(),
            key: Some("mekmitasdigoat".to_owned()),
            id: None,
            remote_id: None,
            kept_up: false,
            general: Vec::new(),
            peer: Vec::new(),
            connection: Vec::new(),
            more: String::new(),
        }
    }

    /// With these phase 1 transforms and suites.
    #[must_use]
    pub fn with(mut self, transforms: &str, suites: &str) -> Tunnel {
        self.transforms = transforms.to_owned();
        self.suites = suites.to_owned();
        self
    }

    /// With a line more in `[General]`.
    #[must_use]
    pub fn general(mut self, line: &str) -> Tunnel {
        self.general.push(line.to_owned());
        self
    }

    /// To be kept up.
    #[must_use]
    pub fn kept_up(mut self) -> Tunnel {
        self.kept_up = true;
        self
    }

    /// isakmpd.conf.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let lines = |text: &mut String, lines: &[String]| {
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
        };
        let _ = writeln!(text, "[General]\nListen-on= {}", self.local);
        lines(&mut text, &self.general);
        let list = if self.kept_up {
            "Connections"
        } else {
            "Passive-connections"
        };
        let _ = writeln!(
            text,
            "[Phase 1]\n{}= peer-x\n[Phase 2]\n{list}= conn-x\n[peer-x]\nPhase= 1\nAddress= {}\nConfiguration= mm-x",
            self.remote, self.remote
        );
        if let Some(key) = &self.key {
            let _ = writeln!(text, "Authentication= {key}");
        }
        if self.id.is_some() {
            let _ = writeln!(text, "ID= id-l");
        }
        if self.remote_id.is_some() {
            let _ = writeln!(text, "Remote-ID= id-r");
        }
        lines(&mut text, &self.peer);
        let _ = writeln!(
            text,
            "[conn-x]\nPhase= 2\nISAKMP-peer= peer-x\nConfiguration= qm-x\nLocal-ID= net-l\nRemote-ID= net-r"
        );
        lines(&mut text, &self.connection);
        for (name, net) in [("net-l", self.local_net), ("net-r", self.remote_net)] {
            let (family, mask) = match net.contains(':') {
                true => ("IPV6_ADDR", "ffff:ffff:ffff:ffff::"),
                false => ("IPV4_ADDR", "255.255.255.0"),
            };
            let _ = if net.ends_with(".0") || net.ends_with("::") {
                writeln!(
                    text,
                    "[{name}]\nID-type= {family}_SUBNET\nNetwork= {net}\nNetmask= {mask}"
                )
            } else {
                writeln!(text, "[{name}]\nID-type= {family}\nAddress= {net}")
            };
        }
        for (name, id) in [("id-l", &self.id), ("id-r", &self.remote_id)] {
            if let Some((kind, value)) = id {
                let tag = if kind.contains("ADDR") {
                    "Address"
                } else {
                    "Name"
                };
                let _ = writeln!(text, "[{name}]\nID-type= {kind}\n{tag}= {value}");
            }
        }
        let _ = writeln!(
            text,
            "[mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= {}\nTransforms= {}\n[qm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= QUICK_MODE\nSuites= {}\n{}",
            self.exchange, self.transforms, self.suites, self.more
        );
        text
    }
}
