//! What a host's kernel has of IPsec, as `ip xfrm` shows it, and what a daemon's `S` says that it should have.

use std::collections::BTreeSet;

use crate::isakmpd::daemon::{Daemon, flags};
use crate::lab::host::Host;

/// An SA in one direction. Of keys only the lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sa {
    /// Sender.
    pub src: String,
    /// Receiver.
    pub dst: String,
    /// `esp` or `ah`.
    pub protocol: String,
    /// Number at the receiver.
    pub spi: u32,
    /// Name in the kernel and octets of key, with the salt of those that have one.
    pub cipher: Option<(String, usize)>,
    /// Name in the kernel and octets of key.
    pub hash: Option<(String, usize)>,
}

/// An SA as the kernel has it, with what `S` does not tell.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What `S` tells too.
    pub sa: Sa,
    /// `tunnel` or `transport`.
    pub mode: String,
    /// Ports of UDP encapsulation: of the sender and of the receiver.
    pub encapsulation: Option<(u16, u16)>,
    /// Packets so far.
    pub packets: u64,
}

/// A policy in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// `out`, `in` or `fwd`.
    pub direction: String,
    /// From where, `ADDRESS/BITS`.
    pub src: String,
    /// To where.
    pub dst: String,
    /// `esp tunnel` and such, one for each template.
    pub templates: Vec<String>,
}

/// The blocks of what `ip` prints: a line at the margin, and those below it that are indented.
fn blocks(text: &str) -> Vec<Vec<Vec<&str>>> {
    let mut blocks: Vec<Vec<Vec<&str>>> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(char::is_whitespace) {
            if let Some(block) = blocks.last_mut() {
                block.push(words);
            }
        } else {
            blocks.push(vec![words]);
        }
    }
    blocks
}

/// The word after `name`.
fn after<'a>(block: &[Vec<&'a str>], name: &str) -> Option<&'a str> {
    block.iter().find_map(|line| {
        let at = line.iter().position(|word| *word == name)?;
        line.get(at + 1).copied()
    })
}

/// An algorithm and the length of its key.
fn algorithm(block: &[Vec<&str>], name: &str) -> Option<(String, usize)> {
    let line = block.iter().find(|line| line.first() == Some(&name))?;
    let key = line.get(2).and_then(|key| key.strip_prefix("0x"));
    Some(((*line.get(1)?).to_owned(), key.map_or(0, str::len) / 2))
}

/// The SAs of a host, those too that have an SPI but no keys yet; without what an ACQUIRE left to expire (SPI 0).
pub fn states(host: &Host) -> Vec<State> {
    let text = host.output("ip -s xfrm state");
    let found = blocks(&text);
    let found = found.iter().filter_map(|block| {
        let spi = after(block, "spi")?.split_once('(')?.0.strip_prefix("0x")?;
        let spi = u32::from_str_radix(spi, 16).ok()?;
        let text = |name: &str| after(block, name).map(str::to_owned).unwrap_or_default();
        let encapsulation = block.iter().find(|line| line.first() == Some(&"encap"));
        let encapsulation = encapsulation.and_then(|line| {
            let line = [line.clone()];
            Some((
                after(&line, "sport")?.parse().ok()?,
                after(&line, "dport")?.parse().ok()?,
            ))
        });
        let packets = block.iter().flatten().find_map(|word| {
            let count = word.strip_suffix("(packets)")?;
            count.trim_end_matches(',').parse().ok()
        });
        Some(State {
            sa: Sa {
                src: text("src"),
                dst: text("dst"),
                protocol: text("proto"),
                spi,
                cipher: algorithm(block, "enc").or_else(|| algorithm(block, "aead")),
                hash: algorithm(block, "auth-trunc").or_else(|| algorithm(block, "auth")),
            },
            mode: text("mode"),
            encapsulation,
            packets: packets.unwrap_or(0),
        })
    });
    found.filter(|state| state.sa.spi != 0).collect()
}

/// The policies of a host, without those of sockets.
pub fn policies(host: &Host) -> BTreeSet<Policy> {
    let text = host.output("ip xfrm policy");
    let found = blocks(&text);
    let found = found.iter().filter_map(|block| {
        let text = |name: &str| after(block, name).map(str::to_owned);
        let templates = block.iter().filter(|line| line.first() == Some(&"proto"));
        Some(Policy {
            direction: text("dir")?,
            src: text("src")?,
            dst: text("dst")?,
            templates: templates
                .map(|line| {
                    let line = [line.clone()];
                    let word = |name| after(&line, name).unwrap_or_default();
                    format!("{} {}", word("proto"), word("mode"))
                })
                .collect(),
        })
    });
    found.collect()
}

/// Kernel names of what `S` calls ciphers and hashes.
const NAMES: [(&str, &str); 10] = [
    ("3DES", "cbc(des3_ede)"),
    ("AES (CBC)", "cbc(aes)"),
    ("AES (CTR)", "rfc3686(ctr(aes))"),
    ("AES (GCM)", "rfc4106(gcm(aes))"),
    ("AES (GMAC)", "rfc4543(gcm(aes))"),
    ("HMAC-MD5", "hmac(md5)"),
    ("HMAC-SHA1", "hmac(sha1)"),
    ("HMAC-SHA2-256", "hmac(sha256)"),
    ("HMAC-SHA2-384", "hmac(sha384)"),
    ("HMAC-SHA2-512", "hmac(sha512)"),
];

fn kernel_name(name: &str) -> String {
    let found = NAMES.iter().find(|(theirs, _)| *theirs == name);
    found.map_or(name, |(_, kernel)| kernel).to_owned()
}

/// What `S` says that the kernel has, in both directions.
pub fn announced(daemon: &Daemon) -> BTreeSet<Sa> {
    let mut announced = BTreeSet::new();
    for block in daemon.sas() {
        let ready = flags(&block) & 1 != 0;
        if !ready || !block.first().is_some_and(|l| l.contains("(Phase 2")) {
            continue;
        }
        let ends = block
            .iter()
            .find_map(|l| l.strip_prefix("src: ")?.split_once(" dst: "));
        let (src, dst) = ends.expect("both ends of an SA");
        let mut pairs: Vec<(Sa, Sa)> = Vec::new();
        let mut lengths = (0, 0);
        for line in &block {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let spi = || u32::from_str_radix(value.trim(), 16).expect("an SPI");
            if name == "SPI 0" {
                let (src, dst) = (src.to_owned(), dst.trim().to_owned());
                let back = Sa {
                    src: dst.clone(),
                    dst: src.clone(),
                    ..Sa::default()
                };
                pairs.push((
                    Sa {
                        src,
                        dst,
                        spi: spi(),
                        ..Sa::default()
                    },
                    back,
                ));
                continue;
            }
            let Some((out, back)) = pairs.last_mut() else {
                continue;
            };
            match name {
                "SPI 1" => back.spi = spi(),
                "Transform" => {
                    let protocol = value.trim_start_matches("IPsec ").to_lowercase();
                    (out.protocol, back.protocol) = (protocol.clone(), protocol);
                }
                "Encryption key length" => lengths.0 = value.parse().expect("a length"),
                "Authentication key length" => lengths.1 = value.parse().expect("a length"),
                "Encryption algorithm" => {
                    let cipher = Some((kernel_name(value), lengths.0));
                    (out.cipher, back.cipher) = (cipher.clone(), cipher);
                }
                "Authentication algorithm" if value != "none" => {
                    let hash = Some((kernel_name(value), lengths.1));
                    (out.hash, back.hash) = (hash.clone(), hash);
                }
                _ => {}
            }
        }
        announced.extend(pairs.into_iter().flat_map(|(out, back)| [out, back]));
    }
    announced
}

/// Waits until the kernel has exactly the SAs that `S` says. Returns them.
pub fn agree(daemon: &Daemon, host: &Host) -> Vec<State> {
    let mut last = (BTreeSet::new(), Vec::new());
    let both = crate::wait::until(crate::isakmpd::PATIENCE, || {
        let said = announced(daemon);
        let found = states(host);
        let kernel: BTreeSet<Sa> = found.iter().map(|state| state.sa.clone()).collect();
        last = (said.clone(), found.clone());
        (said == kernel).then_some(found)
    });
    both.unwrap_or_else(|| {
        panic!(
            "S says {:#?}, the kernel has {:#?}\n{}\n{:#?}",
            last.0,
            last.1,
            daemon.result("S"),
            daemon.lines()
        )
    })
}

/// Waits until the kernel of a host has no SA and no policy any more.
pub fn nothing_left(host: &Host) {
    let none = crate::wait::until(crate::isakmpd::PATIENCE, || {
        (states(host).is_empty() && policies(host).is_empty()).then_some(())
    });
    assert!(
        none.is_some(),
        "left in the kernel: {:#?} {:#?}",
        states(host),
        policies(host)
    );
}

/// The policies of a tunnel or of a protected flow, as the side sees it that has `local` behind it.
pub fn flow(local: &str, remote: &str, templates: &[&str]) -> BTreeSet<Policy> {
    let one = |direction: &str, src: &str, dst: &str| Policy {
        direction: direction.to_owned(),
        src: src.to_owned(),
        dst: dst.to_owned(),
        templates: templates.iter().map(|&t| t.to_owned()).collect(),
    };
    let mut flow: BTreeSet<Policy> = [one("out", local, remote), one("in", remote, local)].into();
    // Whoever is an end itself forwards nothing.
    if templates.iter().any(|t| t.ends_with("tunnel")) {
        flow.insert(one("fwd", remote, local));
    }
    flow
}
