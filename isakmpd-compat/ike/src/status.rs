//! The text of the FIFO's `S` (isakmpd.md 4).

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Instant;

use isakmp_proto::header::Cookie;
use isakmp_proto::number::{AhTransform, EspTransform, IpsecAuth, Protocol};

use crate::event::Path;
use crate::exchange::{Exchange, State};
use crate::sa::{Flags, IpsecSa, IsakmpSa, Lifetime, ProtocolSa, Role};

/// `src: A dst: B`, addresses without ports, as in logs.
#[must_use]
pub(crate) fn ends(local: SocketAddr, remote: SocketAddr) -> String {
    format!("src: {} dst: {}", local.ip(), remote.ip())
}

/// An SA as it is printed, finished or not.
struct Entry<'a> {
    name: Option<&'a str>,
    phase: &'a str,
    path: Option<Path>,
    lifetime: Lifetime,
    soft: Option<Instant>,
    hard: Option<Instant>,
    flags: Flags,
}

impl Entry<'_> {
    /// Writing to a `String` cannot fail, so results are not looked at.
    fn write(&self, now: Instant, out: &mut String) {
        let _ = writeln!(
            out,
            "SA name: {} (Phase {})",
            self.name.unwrap_or("<unnamed>"),
            self.phase
        );
        match self.path {
            Some(path) => {
                let _ = writeln!(out, "{}", ends(path.local, path.remote));
            }
            None => out.push_str("<no transport>\n"),
        }
        if let Some(seconds) = self.lifetime.seconds {
            let _ = writeln!(out, "Lifetime: {seconds} seconds");
        }
        let left = |due: Instant| due.saturating_duration_since(now).as_secs();
        if let Some(soft) = self.soft {
            let _ = writeln!(out, "Soft timeout in {} seconds", left(soft));
        }
        if let Some(hard) = self.hard {
            let _ = writeln!(out, "Hard timeout in {} seconds", left(hard));
        }
        if let Some(kilobytes) = self.lifetime.kilobytes {
            let _ = writeln!(out, "Lifetime: {kilobytes} kilobytes");
        }
        let _ = writeln!(out, "Flags 0x{:08x}", self.flags.0);
    }
}

/// A finished phase 1 SA, with the empty line after it.
pub(crate) fn write_phase1(sa: &IsakmpSa, now: Instant, out: &mut String) {
    let entry = Entry {
        name: sa.name.as_deref(),
        phase: match sa.role {
            Role::Initiator => "1/Initiator",
            Role::Responder => "1/Responder",
        },
        path: Some(sa.path),
        lifetime: sa.lifetime,
        soft: sa.soft.filter(|due| *due > now),
        hard: sa.hard,
        flags: sa.flags,
    };
    entry.write(now, out);
    write_cookies(sa.initiator_cookie, sa.responder_cookie, out);
}

fn write_cookies(initiator: Cookie, responder: Cookie, out: &mut String) {
    let _ = writeln!(out, "icookie {initiator} rcookie {responder}\n");
}

/// A phase 1 SA in the making: it has no name and no role yet.
pub(crate) fn write_unfinished_phase1(
    cookies: (Cookie, Cookie),
    path: Option<Path>,
    lifetime: Lifetime,
    now: Instant,
    out: &mut String,
) {
    let entry = Entry {
        name: None,
        phase: "1/Responder",
        path,
        lifetime,
        soft: None,
        hard: None,
        flags: Flags(0),
    };
    entry.write(now, out);
    write_cookies(cookies.0, cookies.1, out);
}

/// A finished suite of IPsec SAs, with the empty line after it.
pub(crate) fn write_phase2(sa: &IpsecSa, now: Instant, out: &mut String) {
    let entry = Entry {
        name: sa.name.as_deref(),
        phase: "2",
        path: Some(sa.path),
        lifetime: sa.lifetime,
        soft: sa.soft.filter(|due| *due > now),
        hard: sa.hard,
        flags: sa.flags,
    };
    entry.write(now, out);
    for protocol in &sa.protocols {
        write_spi(0, protocol.protocol, protocol.outgoing_spi, out);
        write_spi(1, protocol.protocol, protocol.incoming_spi, out);
        write_protocol(protocol, out);
    }
    out.push('\n');
}

/// A suite in the making: as initiator what was offered, protocols with our SPIs.
pub(crate) fn write_unfinished_phase2(
    path: Path,
    offered: &[(u8, u32)],
    now: Instant,
    out: &mut String,
) {
    let entry = Entry {
        name: None,
        phase: "2",
        path: Some(path),
        lifetime: Lifetime::default(),
        soft: None,
        hard: None,
        flags: Flags(0),
    };
    entry.write(now, out);
    for (protocol, spi) in offered {
        out.push_str("SPI 0 not defined.\n");
        write_spi(1, *protocol, *spi, out);
        let unknown = ProtocolSa {
            protocol: *protocol,
            outgoing_spi: 0,
            incoming_spi: *spi,
            transform: 0,
            authentication: 0,
            encapsulation: 0,
            encryption_key_len: 0,
            authentication_key_len: 0,
            replay_window: 0,
        };
        write_protocol(&unknown, out);
    }
    out.push('\n');
}

/// The blank before the line end is the original's, for SPIs of 4 octets.
fn write_spi(which: u8, protocol: u8, spi: u32, out: &mut String) {
    let _ = match Protocol(protocol) {
        Protocol::IPCOMP => writeln!(out, "SPI {which}: {spi:04x}"),
        _ => writeln!(out, "SPI {which}: {spi:08x} "),
    };
}

fn write_protocol(sa: &ProtocolSa, out: &mut String) {
    match Protocol(sa.protocol) {
        Protocol::ESP => {
            let cipher = match EspTransform(sa.transform) {
                EspTransform::DES3 => "3DES",
                EspTransform::AES => "AES (CBC)",
                EspTransform::AES_CTR => "AES (CTR)",
                EspTransform::AES_GCM_16 => "AES (GCM)",
                EspTransform::AES_GMAC => "AES (GMAC)",
                EspTransform::CAST => "Cast-128",
                EspTransform::BLOWFISH => "Blowfish",
                other => &format!("unknown ({})", other.0),
            };
            let authentication = match IpsecAuth(sa.authentication) {
                IpsecAuth::HMAC_MD5 => "HMAC-MD5",
                IpsecAuth::HMAC_SHA => "HMAC-SHA1",
                IpsecAuth::HMAC_RIPEMD => "HMAC-RIPEMD-160",
                IpsecAuth::HMAC_SHA2_256 => "HMAC-SHA2-256",
                IpsecAuth::HMAC_SHA2_384 => "HMAC-SHA2-384",
                IpsecAuth::HMAC_SHA2_512 => "HMAC-SHA2-512",
                _ => "none",
            };
            let _ = write!(
                out,
                "Transform: IPsec ESP\nEncryption key length: {}\nAuthentication key length: {}\n\
                 Encryption algorithm: {cipher}\nAuthentication algorithm: {authentication}\n",
                sa.encryption_key_len, sa.authentication_key_len
            );
        }
        Protocol::AH => {
            let authentication = match AhTransform(sa.transform) {
                AhTransform::MD5 => "HMAC-MD5",
                AhTransform::SHA => "HMAC-SHA1",
                AhTransform::RIPEMD => "HMAC-RIPEMD-160",
                AhTransform::SHA2_256 => "HMAC-SHA2-256",
                AhTransform::SHA2_384 => "HMAC-SHA2-384",
                AhTransform::SHA2_512 => "HMAC-SHA2-512",
                other => &format!("unknown ({})", other.0),
            };
            let _ = write!(
                out,
                "Transform: IPsec AH\nEncryption not used.\nAuthentication key length: {}\n\
                 Authentication algorithm: {authentication}\n",
                sa.authentication_key_len
            );
        }
        Protocol::IPCOMP => out.push_str("Transform: IPComp\n"),
        other => {
            let _ = writeln!(out, "report_proto: invalid proto {}", other.0);
        }
    }
}

/// What a running exchange is about to make.
pub(crate) fn write_unfinished(exchange: &Exchange, now: Instant, out: &mut String) {
    match &exchange.state {
        State::Main(negotiation) | State::Aggressive(negotiation) => {
            let known = !exchange.responder_cookie.is_zero();
            let lifetime = negotiation
                .agreement
                .as_ref()
                .map(|agreement| agreement.lifetime)
                .unwrap_or_default();
            let cookies = (exchange.initiator_cookie, exchange.responder_cookie);
            write_unfinished_phase1(cookies, known.then_some(exchange.path), lifetime, now, out);
        }
        State::Quick(quick_mode) => {
            let offered: Vec<_> = quick_mode.offered().collect();
            write_unfinished_phase2(exchange.path, &offered, now, out);
        }
        State::Informational | State::Transaction(_) => {}
    }
}
