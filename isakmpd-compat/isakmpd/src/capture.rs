//! Packet capture (isakmpd 3): messages in clear, as a classic pcap file of link type LOOP.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ike::event::Captured;

use crate::files::{Access, Files};
use crate::log::Log;
use crate::options::CAPTURE;

const MAGIC: u32 = 0xa1b2_c3d4;
const SNAPLEN: u32 = 1 << 16;
/// DLT_LOOP everywhere but on OpenBSD.
const LINK_TYPE: u32 = 108;

/// Family of the link layer: those of OpenBSD, which readers know on every system.
const FAMILY_IPV4: u32 = 2;
const FAMILY_IPV6: u32 = 24;

const UDP: u8 = 17;
/// Port whose messages follow four zero octets.
const NAT_T: u16 = 4500;

/// The capture: on or off, and which file is meant by `p on`.
pub struct Capture {
    file: Option<File>,
    path: Option<PathBuf>,
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new()
    }
}

impl Capture {
    /// Off.
    #[must_use]
    pub const fn new() -> Capture {
        Capture {
            file: None,
            path: None,
        }
    }

    /// Whether messages are wanted.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.file.is_some()
    }

    /// Begins, at the end of the file if it is there. What is wrong is logged.
    pub fn start(&mut self, path: &Path, files: &dyn Files, log: &Log) {
        self.path = Some(path.to_owned());
        let shown = path.display();
        let (size, mode) = match files
            .open(path, Access::Read)
            .and_then(|file| file.metadata())
        {
            Ok(data) if !data.is_file() => {
                log.print("log_packet_init: existing capture file is not a regular file");
                return;
            }
            Ok(data) if data.mode() & 0o077 != 0 => {
                log.print("log_packet_init: existing capture file has bad modes");
                return;
            }
            Ok(data) => (data.size(), "a"),
            Err(_) => (0, "w"),
        };
        let opened = files.open(path, Access::Append).and_then(|mut file| {
            // What another made of it meanwhile is not ours to write into.
            let data = file.metadata()?;
            if !data.is_file() || data.mode() & 0o077 != 0 {
                return Err(ErrorKind::PermissionDenied.into());
            }
            if size == 0 {
                file.write_all(&file_header())?;
            }
            Ok(file)
        });
        match opened {
            Ok(file) => {
                log.print(format!(
                    "log_packet_init: starting IKE packet capture to file \"{shown}\""
                ));
                self.file = Some(file);
            }
            Err(error) => log.error(
                format!("log_packet_init: fopen (\"{shown}\", \"{mode}\") failed"),
                &error,
            ),
        }
    }

    /// `p on`: begins unless it is on, with the last file if none is named.
    pub fn restart(&mut self, path: Option<&Path>, files: &dyn Files, log: &Log) {
        let last = self.path.clone();
        if self.is_active() {
            log.print(format!(
                "log_packet_restart: capture already active on file \"{}\"",
                last.unwrap_or_default().display()
            ));
            return;
        }
        let path = path.map(Path::to_owned).or(last);
        self.start(&path.unwrap_or_else(|| CAPTURE.into()), files, log);
    }

    /// `p off`, and the end.
    pub fn stop(&mut self, log: &Log) {
        if self.file.take().is_some() {
            log.print("log_packet_stop: stopped capture");
        }
    }

    /// A message. One that cannot be written ends the capture.
    pub fn write(&mut self, message: &Captured, log: &Log) {
        let now = SystemTime::now();
        let Some(record) = record(now, message.from, message.to, &message.octets) else {
            return;
        };
        let written = self.file.as_mut().map(|file| file.write_all(&record));
        if let Some(Err(error)) = written {
            log.error("log_packet_iov: fwrite failed", &error);
            self.stop(log);
        }
    }
}

fn file_header() -> Vec<u8> {
    let mut header = Vec::with_capacity(24);
    header.extend_from_slice(&MAGIC.to_ne_bytes());
    header.extend_from_slice(&2u16.to_ne_bytes());
    header.extend_from_slice(&4u16.to_ne_bytes());
    // Zone and accuracy.
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&SNAPLEN.to_ne_bytes());
    header.extend_from_slice(&LINK_TYPE.to_ne_bytes());
    header
}

/// None: too long, or the ends are not of one family.
fn record(time: SystemTime, from: SocketAddr, to: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let marker: &[u8] = match from.port() == NAT_T || to.port() == NAT_T {
        true => &[0; 4],
        false => &[],
    };
    let udp_length = u16::try_from(message.len().checked_add(8 + marker.len())?).ok()?;
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&udp_length.to_be_bytes());
    udp.extend_from_slice(&[0; 2]);
    udp.extend_from_slice(marker);
    udp.extend_from_slice(message);
    let (family, ip, pseudo) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = udp_length.checked_add(20)?;
            let mut ip = vec![0x45, 0];
            ip.extend_from_slice(&length.to_be_bytes());
            // Identification 1, no fragment, time to live 0, checksum to come.
            ip.extend_from_slice(&[0, 1, 0, 0, 0, UDP, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            let sum = checksum(&[&ip]);
            ip.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            let mut pseudo = from.octets().to_vec();
            pseudo.extend_from_slice(&to.octets());
            pseudo.extend_from_slice(&[0, UDP]);
            pseudo.extend_from_slice(&udp_length.to_be_bytes());
            (FAMILY_IPV4, ip, pseudo)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend_from_slice(&udp_length.to_be_bytes());
            ip.extend_from_slice(&[UDP, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            let mut pseudo = from.octets().to_vec();
            pseudo.extend_from_slice(&to.octets());
            pseudo.extend_from_slice(&u32::from(udp_length).to_be_bytes());
            pseudo.extend_from_slice(&[0, 0, 0, UDP]);
            (FAMILY_IPV6, ip, pseudo)
        }
        _ => return None,
    };
    // A sum of zero would say that there is none (RFC 768).
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp.get_mut(6..8)?.copy_from_slice(&sum.to_be_bytes());
    let length = u32::try_from(4 + ip.len() + udp.len()).ok()?;
    if length > SNAPLEN {
        return None;
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    #[allow(clippy::cast_possible_truncation)] // The format has 32 bits, until 2106.
    let seconds = since.as_secs() as u32;
    let mut record = Vec::with_capacity(16 + length as usize);
    for number in [seconds, since.subsec_micros(), length, length] {
        record.extend_from_slice(&number.to_ne_bytes());
    }
    record.extend_from_slice(&family.to_be_bytes());
    record.extend_from_slice(&ip);
    record.extend_from_slice(&udp);
    Some(record)
}

/// Of the internet protocols (RFC 1071). All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            sum = sum.wrapping_add(u32::from(u16::from_be_bytes([high, low])));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Direct, Rules};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::os::unix::fs::PermissionsExt;

    const VECTORS: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/isakmpd"
    );

    fn number(octets: &[u8]) -> usize {
        u32::from_ne_bytes(octets[..4].try_into().expect("four")) as usize
    }

    fn port(octets: &[u8]) -> u16 {
        u16::from_be_bytes([octets[0], octets[1]])
    }

    /// Every record of the original's captures, made again from its addresses and its message.
    #[test]
    fn records_are_the_originals() {
        let mut records = 0;
        for directory in std::fs::read_dir(VECTORS).expect("vectors") {
            let directory = directory.expect("entry").path();
            for side in ["initiator", "responder"] {
                let path = directory.join(format!("{side}-cleartext.pcap"));
                let Ok(content) = std::fs::read(&path) else {
                    continue;
                };
                let (header, mut rest) = content.split_at(24);
                assert_eq!(header, file_header(), "{}", path.display());
                while !rest.is_empty() {
                    let length = number(&rest[8..]);
                    let (one, others) = rest.split_at(16 + length);
                    rest = others;
                    records += usize::from(again(one));
                }
            }
        }
        assert!(records > 150, "{records}");
    }

    fn again(one: &[u8]) -> bool {
        let mut one = one.to_vec();
        let seconds = number(&one) as u64;
        let time = std::time::Duration::new(seconds, number(&one[4..]) as u32 * 1000);
        let (from, to, udp): (IpAddr, IpAddr, usize) = match one[20] >> 4 {
            4 => {
                let address =
                    |at: usize| Ipv4Addr::new(one[at], one[at + 1], one[at + 2], one[at + 3]);
                (address(32).into(), address(36).into(), 40)
            }
            6 => {
                let address = |at: usize| {
                    let octets: [u8; 16] = one[at..at + 16].try_into().expect("16");
                    Ipv6Addr::from(octets)
                };
                (address(28).into(), address(44).into(), 60)
            }
            other => panic!("IP version {other}"),
        };
        if one[20] >> 4 == 6 {
            // Ours is the number of OpenBSD.
            assert_eq!(one[16..20], 10u32.to_be_bytes());
            one[16..20].copy_from_slice(&24u32.to_be_bytes());
        }
        let ports = [port(&one[udp..]), port(&one[udp + 2..])];
        let message = udp + 8 + if ports.contains(&4500) { 4 } else { 0 };
        let made = record(
            UNIX_EPOCH + time,
            SocketAddr::new(from, ports[0]),
            SocketAddr::new(to, ports[1]),
            &one[message..],
        );
        let made = made.expect("a record");
        assert_eq!(made.len(), one.len());
        // The original's UDP checksum leaves out the marker.
        let checked = if ports.contains(&4500) {
            udp + 6
        } else {
            made.len()
        };
        assert_eq!(made[..checked], one[..checked]);
        assert_eq!(made[message..], one[message..]);
        true
    }

    #[test]
    fn sums_are_right() {
        let ends: [SocketAddr; 2] = [([192, 0, 2, 1], 4500).into(), ([192, 0, 2, 2], 4500).into()];
        let made = record(UNIX_EPOCH, ends[0], ends[1], b"odd").expect("a record");
        assert_eq!(checksum(&[&made[20..40]]), 0);
        let udp = &made[40..];
        let mut pseudo = made[32..40].to_vec();
        pseudo.extend_from_slice(&[0, UDP, 0, udp.len() as u8]);
        assert_eq!(checksum(&[&pseudo, udp]), 0);
        assert_eq!(udp[8..], *b"\0\0\0\0odd");
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
        assert!(record(UNIX_EPOCH, ends[0], other, b"x").is_none());
        assert!(record(UNIX_EPOCH, ends[0], ends[1], &[0; 65_535]).is_none());
    }

    #[test]
    fn the_file_is_appended_to_and_its_mode_is_looked_at() {
        let directory = tempfile::tempdir().expect("directory");
        let log = std::rc::Rc::new(Log::memory());
        let run = directory.path().to_owned();
        let files = Direct::new(
            Rules::new("/none".into(), run.clone()),
            std::rc::Rc::clone(&log),
        );
        let path = run.join("x.pcap");
        let mut capture = Capture::new();
        let message = Captured {
            from: ([192, 0, 2, 1], 500).into(),
            to: ([192, 0, 2, 2], 500).into(),
            octets: vec![7; 40],
        };
        let length = |count: u64| 24 + count * (16 + 4 + 28 + 40);
        capture.write(&message, &log);
        capture.restart(Some(&path), &files, &log);
        capture.write(&message, &log);
        capture.restart(None, &files, &log);
        capture.stop(&log);
        capture.stop(&log);
        capture.restart(None, &files, &log);
        capture.write(&message, &log);
        capture.stop(&log);
        let data = std::fs::metadata(&path).expect("there");
        assert_eq!((data.len(), data.mode() & 0o777), (length(2), 0o600));
        let begun = format!(
            "Default log_packet_init: starting IKE packet capture to file \"{}\"",
            path.display()
        );
        let already = format!(
            "Default log_packet_restart: capture already active on file \"{}\"",
            path.display()
        );
        let stopped = "Default log_packet_stop: stopped capture";
        assert_eq!(
            log.texts(),
            [&begun, &already, stopped, &begun, stopped].map(str::to_owned)
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        capture.restart(None, &files, &log);
        assert!(!capture.is_active());
        capture.restart(Some(Path::new("/dev/null")), &files, &log);
        capture.restart(Some(&run.join("none/x")), &files, &log);
        let texts = log.texts();
        assert_eq!(
            texts[0],
            "Default log_packet_init: existing capture file has bad modes"
        );
        assert!(
            texts
                .last()
                .expect("a line")
                .contains("\"w\") failed: No such file")
        );
    }
}
