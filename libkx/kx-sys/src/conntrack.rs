//! The one switch of connection tracking that a daemon needs which changes sequence numbers.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// In the network name space of whoever opens it.
const BE_LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// `nf_conntrack_tcp_be_liberal`, set to 1 and put back later (tcpcrypt-datapath spec 2.6): packets
/// with numbers outside the window are not INVALID then.
///
/// The file stays open, so that it can be put back after a chroot by whoever has `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct LiberalTracking {
    file: File,
    before: Option<u8>,
}

impl LiberalTracking {
    /// Sets the switch. `None` where connections are not tracked, so that there is no switch.
    ///
    /// # Errors
    /// The system's.
    pub fn set() -> io::Result<Option<LiberalTracking>> {
        let file = match OpenOptions::new().read(true).write(true).open(BE_LIBERAL) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut value = [0];
        file.read_exact_at(&mut value, 0)?;
        if value == *b"1" {
            return Ok(Some(LiberalTracking { file, before: None }));
        }
        file.write_all_at(b"1\n", 0)?;
        let before = Some(value[0]);
        Ok(Some(LiberalTracking { file, before }))
    }

    /// True if the switch was off before.
    #[must_use]
    pub fn was_changed(&self) -> bool {
        self.before.is_some()
    }

    /// Puts the former value back, once.
    ///
    /// # Errors
    /// The system's.
    pub fn restore(&mut self) -> io::Result<()> {
        match self.before.take() {
            Some(value) => self.file.write_all_at(&[value, b'\n'], 0),
            None => Ok(()),
        }
    }
}
