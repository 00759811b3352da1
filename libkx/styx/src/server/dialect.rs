//! What the two servers of Inferno say and allow differently (keysrv spec 8.1 and 8.2).

use std::borrow::Cow;

use crate::message::{IO_HEADER, ORCLOSE, OTRUNC, VERSION};

/// Whose voice a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The kernel's `exportfs`: what a client of keysrv hears (keysrv spec 8.1).
    Exportfs,
    /// The library `styxservers`: what a client of keyfs hears (keysrv spec 8.2).
    Styxservers,
}

/// Octets of the kernel's buffer for an error text, the zero at its end included.
const KERNEL_ERROR_LEN: usize = 128;

impl Dialect {
    /// The message size that is agreed on when a client asks for `asked`. `None` if it is too small.
    pub(super) fn msize(self, asked: u32) -> Option<u32> {
        let (least, most) = match self {
            Self::Exportfs => (64, IO_HEADER + 65_536),
            Self::Styxservers => (256, IO_HEADER + 8192),
        };
        let agreed = asked.min(most);
        (agreed >= least).then_some(agreed)
    }

    /// Whether a client with this version can be talked to.
    pub(super) fn speaks(self, version: &[u8]) -> bool {
        let end = version.iter().position(|&octet| octet == b'.');
        let version = version.get(..end.unwrap_or(version.len()));
        let version = version.unwrap_or_default();
        let Some(number) = version.strip_prefix(b"9P") else {
            return false;
        };
        let plain = self == Self::Exportfs || number.iter().all(u8::is_ascii_digit);
        // Text is compared with text: 9P3 passes, 9P1999 and 9P10000 do not.
        plain && version >= VERSION
    }

    /// The error text that goes into a reply: the kernel shortens what its buffer does not hold.
    pub(super) fn shortened(self, text: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Styxservers || text.len() < KERNEL_ERROR_LEN {
            return text.into();
        }
        // Room for the dots and the end; then back over one character, whole or not.
        let mut end = KERNEL_ERROR_LEN.saturating_sub(4);
        loop {
            end = end.saturating_sub(1);
            let within = text.get(end).is_some_and(|octet| octet & 0xc0 == 0x80);
            if end == 0 || !within {
                break;
            }
        }
        [text.get(..end).unwrap_or_default(), b"..."]
            .concat()
            .into()
    }

    pub(super) fn fid_in_use(self) -> &'static str {
        match self {
            Self::Exportfs => "fid in use",
            Self::Styxservers => "fid already in use",
        }
    }

    pub(super) fn unknown_fid(self) -> &'static str {
        match self {
            Self::Exportfs => "no such fid",
            Self::Styxservers => "bad fid",
        }
    }

    pub(super) fn walk_of_open_fid(self) -> &'static str {
        match self {
            Self::Exportfs => "walk of open fid",
            Self::Styxservers => "fid already opened",
        }
    }

    pub(super) fn already_open(self) -> &'static str {
        match self {
            Self::Exportfs => "open/create -- unknown mode",
            Self::Styxservers => "fid already opened",
        }
    }

    pub(super) fn not_open(self) -> &'static str {
        match self {
            Self::Exportfs => "open/create -- unknown mode",
            Self::Styxservers => "read/write -- on non open fid",
        }
    }

    pub(super) fn count_too_big(self) -> &'static str {
        match self {
            Self::Exportfs => "read/write -- count too big",
            Self::Styxservers => "read/write -- count negative or exceeds msgsize",
        }
    }

    pub(super) fn negative_offset(self) -> &'static str {
        match self {
            Self::Exportfs => "negative i/o offset",
            Self::Styxservers => "read/write -- bad offset",
        }
    }

    pub(super) fn bad_mode(self) -> &'static str {
        match self {
            Self::Exportfs => "bad arg in system call",
            Self::Styxservers => "bad argument",
        }
    }

    pub(super) fn directory_for_writing(self) -> &'static str {
        match self {
            Self::Exportfs => "file is a directory",
            Self::Styxservers => "permission denied",
        }
    }

    pub(super) fn reply_too_long(self) -> &'static str {
        match self {
            Self::Exportfs => "failed to convert R-message",
            Self::Styxservers => "Styx reply didn't fit",
        }
    }

    /// Whether an open mode means anything. Close-on-exec (0x20) is taken by the kernel, not by the
    /// library; executing is not for the library's files.
    pub(super) fn knows_mode(self, mode: u8) -> bool {
        match self {
            Self::Exportfs => mode < 0x73 && mode & 0x8c == 0,
            Self::Styxservers => mode & !(OTRUNC | ORCLOSE) <= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_sizes_are_bounded() {
        for (dialect, asked, agreed) in [
            (Dialect::Exportfs, 63, None),
            (Dialect::Exportfs, 64, Some(64)),
            (Dialect::Exportfs, 8216, Some(8216)),
            (Dialect::Exportfs, u32::MAX, Some(65_560)),
            (Dialect::Styxservers, 255, None),
            (Dialect::Styxservers, 256, Some(256)),
            (Dialect::Styxservers, 8217, Some(8216)),
        ] {
            assert_eq!(dialect.msize(asked), agreed, "{dialect:?} {asked}");
        }
    }

    #[test]
    fn versions_are_compared_as_text() {
        for (version, kernel, library) in [
            ("9P2000", true, true),
            ("9P2000.u", true, true),
            ("9P2000.L", true, true),
            ("9P2000x", true, false),
            ("9P3000", true, true),
            ("9P3", true, true),
            ("9P1999", false, false),
            ("9P10000", false, false),
            ("9P", false, false),
            ("9P200", false, false),
            ("8P2000", false, false),
            ("9p2000", false, false),
            ("", false, false),
            (".9P2000", false, false),
        ] {
            let version_octets = version.as_bytes();
            assert_eq!(
                Dialect::Exportfs.speaks(version_octets),
                kernel,
                "{version}"
            );
            assert_eq!(
                Dialect::Styxservers.speaks(version_octets),
                library,
                "{version}"
            );
        }
    }

    #[test]
    fn long_texts_are_shortened_between_characters() {
        let kernel = |text: &str| {
            let short = Dialect::Exportfs.shortened(text.as_bytes()).into_owned();
            String::from_utf8(short).expect("whole characters")
        };
        assert_eq!(kernel(&"x".repeat(127)), "x".repeat(127));
        assert_eq!(kernel(&"x".repeat(128)), "x".repeat(123) + "...");
        assert_eq!(kernel(&"x".repeat(1000)), "x".repeat(123) + "...");
        // 62 of two octets each fill the 124; the last one goes.
        assert_eq!(kernel(&"ü".repeat(100)), "ü".repeat(61) + "...");
        assert_eq!(
            kernel(&format!("x{}", "ü".repeat(100))),
            format!("x{}...", "ü".repeat(61))
        );
        let text = "x".repeat(1000);
        assert_eq!(
            *Dialect::Styxservers.shortened(text.as_bytes()),
            *text.as_bytes()
        );
        // No text at all, and yet no panic.
        assert_eq!(*Dialect::Exportfs.shortened(&[0x80; 200]), *b"...");
    }

    #[test]
    fn modes_without_meaning() {
        for mode in [0, 1, 2, 0x10, 0x11, 0x12, 0x40, 0x41, 0x51] {
            assert!(Dialect::Exportfs.knows_mode(mode), "{mode:x}");
            assert!(Dialect::Styxservers.knows_mode(mode), "{mode:x}");
        }
        for mode in [4, 8, 0x73, 0x80, 0xff] {
            assert!(!Dialect::Exportfs.knows_mode(mode), "{mode:x}");
            assert!(!Dialect::Styxservers.knows_mode(mode), "{mode:x}");
        }
        for mode in [3, 0x20, 0x21] {
            assert!(Dialect::Exportfs.knows_mode(mode), "{mode:x}");
            assert!(!Dialect::Styxservers.knows_mode(mode), "{mode:x}");
        }
    }
}
