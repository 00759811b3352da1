//! `allowed_clients` of one key, and what was read of it a moment ago.
//!
//! A client that asks often would have the same file read and decoded each time. So what was read is
//! kept for a second at most, and used only if a look at the file (`fstatat`, once per request) shows
//! that it is the same one: device, inode, size, owner, mode and both stamps, to the nanosecond. A file
//! that is replaced or written to has others, and counts at once. The stamps move in ticks of the
//! kernel's clock; so that no second change can hide in the tick of a first one, only a file that was at
//! rest when it was read is kept.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use std::sync::Arc;

use kx_cert::Certificate;
use kx_cert::anchors::{Anchors, NoCertificate, parse_allowed_clients};
use kx_cert::pem;
use kx_sys::dir::{Kind, Metadata, Stamp};

use super::read_key::is_long_at_rest;

/// How long what was read is used. What changes a file without changing its stamps (a shared mapping, a
/// network's delay) counts after that time.
const KEPT: Duration = Duration::from_secs(1);
/// Files that are kept, and how large one may be: a quarter of a megabyte in all.
const FILES: usize = 32;
const OCTETS: usize = 8 * 1024;

/// The content of an `allowed_clients` file.
#[derive(Debug)]
pub struct ClientsFile {
    text: Vec<u8>,
    /// Whether this is used a second time, so that it is worth while to decode all of it.
    again: bool,
    decoded: OnceLock<Vec<Vec<u8>>>,
    certificates: OnceLock<Result<Vec<Certificate>, NoCertificate>>,
}

impl ClientsFile {
    /// A file with this text.
    #[must_use]
    pub fn new(text: Vec<u8>) -> ClientsFile {
        ClientsFile {
            text,
            again: false,
            decoded: OnceLock::new(),
            certificates: OnceLock::new(),
        }
    }

    /// The text as it stands in the file.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What [`Anchors::load`] finds in the text, for the client that has shown `leaf`.
    ///
    /// # Errors
    /// [`NoCertificate`] when the file holds no certificate.
    pub fn anchors(&self, leaf: &Certificate) -> Result<Anchors, NoCertificate> {
        if !self.again {
            return Anchors::load(&self.text, leaf);
        }
        let decode = || {
            pem::blocks(&self.text)
                .filter(pem::Block::is_certificate)
                .map(|block| block.der)
                .collect()
        };
        let decoded = self.decoded.get_or_init(decode);
        if decoded.iter().any(|der| der == leaf.der()) {
            return Ok(Anchors::Pinned);
        }
        let parsed = self
            .certificates
            .get_or_init(|| parse_allowed_clients(&self.text));
        parsed.clone().map(Anchors::Others)
    }
}

/// Files that were read lately, by device and inode.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<HashMap<(u64, u64), Kept>>);

#[derive(Debug)]
struct Kept {
    metadata: Metadata,
    since: Instant,
    file: Arc<ClientsFile>,
}

impl Lately {
    /// Whether there is anything for which a look at the file could be worth while.
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// What was read of the file that looks like this now.
    pub(super) fn find(&self, metadata: &Metadata) -> Option<Arc<ClientsFile>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = files.get(&metadata.id)?;
        if kept.metadata == *metadata && kept.since.elapsed() < KEPT {
            return Some(Arc::clone(&kept.file));
        }
        files.remove(&metadata.id);
        None
    }

    /// Keeps what was read of a file. `metadata` is of before that, `now` of before `metadata`.
    pub(super) fn keep(&self, metadata: &Metadata, now: &Stamp, text: &[u8]) {
        let whole = metadata.size == text.len() as u64;
        let small = text.len() <= OCTETS && metadata.kind == Kind::Regular;
        if !(whole && small && is_long_at_rest(metadata, now)) {
            return;
        }
        let file = ClientsFile {
            again: true,
            ..ClientsFile::new(text.to_vec())
        };
        let kept = Kept {
            metadata: *metadata,
            since: Instant::now(),
            file: Arc::new(file),
        };
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, kept| kept.since.elapsed() < KEPT);
        if files.len() < FILES {
            files.insert(metadata.id, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_REST: i64 = 1_000;
    const NOW: Stamp = Stamp {
        seconds: 1_010,
        nanoseconds: 0,
    };

    fn metadata(size: u64, seconds: i64, nanoseconds: i64) -> Metadata {
        let stamp = Stamp {
            seconds,
            nanoseconds,
        };
        Metadata {
            kind: Kind::Regular,
            size,
            modified: stamp,
            changed: stamp,
            mode: 0o600,
            uid: 0,
            gid: 0,
            id: (1, 2),
            device: (0, 0),
        }
    }

    #[test]
    fn only_the_same_file_is_found() {
        let lately = Lately::default();
        let before = metadata(4, AT_REST, 0);
        lately.keep(&before, &NOW, b"text");
        assert_eq!(lately.find(&before).expect("kept").text(), b"text");
        let others: [fn(&mut Metadata); 7] = [
            |m| m.size = 5,
            |m| m.changed.nanoseconds = 1,
            |m| m.modified.nanoseconds = 1,
            |m| m.mode = 0,
            |m| m.uid = 1,
            |m| m.gid = 1,
            |m| m.id = (1, 3),
        ];
        for change in others {
            lately.keep(&before, &NOW, b"text");
            let mut now = before;
            change(&mut now);
            assert!(lately.find(&now).is_none(), "{now:?}");
        }
    }

    #[test]
    fn what_may_still_be_written_to_is_not_kept() {
        for (size, seconds, text) in [
            (4, NOW.seconds, &b"text"[..]),
            (4, NOW.seconds - 2, b"text"),
            (5, AT_REST, b"text"),
            (20_000, AT_REST, &[0; 20_000]),
        ] {
            let lately = Lately::default();
            let before = metadata(size, seconds, 0);
            lately.keep(&before, &NOW, text);
            assert!(lately.is_empty(), "{before:?}");
        }
    }

    #[test]
    fn nothing_is_kept_for_long() {
        let lately = Lately::default();
        let before = metadata(4, AT_REST, 0);
        lately.keep(&before, &NOW, b"text");
        let mut files = lately.0.lock().unwrap();
        for kept in files.values_mut() {
            kept.since = Instant::now().checked_sub(KEPT).expect("some uptime");
        }
        drop(files);
        assert!(lately.find(&before).is_none());
        assert!(lately.is_empty());
    }

    #[test]
    fn not_more_than_so_many_are_kept() {
        let lately = Lately::default();
        for inode in 0..1000 {
            let mut each = metadata(4, AT_REST, 0);
            each.id = (1, inode);
            lately.keep(&each, &NOW, b"text");
        }
        assert_eq!(lately.0.lock().unwrap().len(), FILES);
    }

    #[test]
    fn a_kept_file_says_what_the_text_says() {
        let read = |case: &str, file: &str| {
            let vectors = "../../interop-tests/vectors/kxd/clientcerts";
            std::fs::read(format!("{vectors}/{case}/{file}")).expect("a recorded file")
        };
        let own = read("allowed-two", "cert.pem");
        let leaf = pem::blocks(&own).next().expect("a certificate").der;
        let leaf = Certificate::parse(&leaf).expect("a good one");
        let both = read("allowed-two", "allowed_clients");
        let other = read("ca-expired", "allowed_clients");
        for text in [both, other, own, b"".to_vec(), b"nonsense\n".to_vec()] {
            let fresh = ClientsFile::new(text.clone());
            let again = ClientsFile {
                again: true,
                ..ClientsFile::new(text)
            };
            for _ in 0..2 {
                let shown = |file: &ClientsFile| format!("{:?}", file.anchors(&leaf));
                assert_eq!(shown(&fresh), shown(&again));
            }
        }
    }
}
