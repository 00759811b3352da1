//! The record layer (keysrv spec 6): records of SSL 2 without its handshake, with a digest, a
//! cipher, both or neither.
//!
//! A direction is a [`Sealer`] at one end and an [`Opener`] at the other. Each counts its records in
//! every mode, and a change of algorithms does not touch the count.
//!
//! ```
//! use inferno_auth::ssl::{Algorithms, Opener, Sealer};
//!
//! let algorithms = Algorithms::parse("sha1 rc4_256").unwrap();
//! let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
//! sealer.protect(algorithms, b"secret").unwrap();
//! opener.protect(algorithms, b"secret").unwrap();
//! let mut wire = Vec::new();
//! sealer.seal(b"data", &mut wire).unwrap();
//! opener.receive(&wire);
//! assert_eq!(opener.open().unwrap().unwrap().as_slice(), b"data");
//! ```

mod algorithm;
mod cipher;
mod open;
mod policy;
mod seal;

pub use algorithm::{Algorithms, Cipher, Digest};
pub use open::Opener;
pub use policy::{Names, Policy, PolicyError};
pub use seal::Sealer;
use thiserror::Error;

/// Most octets of a record's body, when nothing is padded.
pub const BODY_LIMIT: usize = 0x7fff;
/// Most octets of a padded record's body.
pub const PADDED_BODY_LIMIT: usize = 0x3fff;

/// Why a record cannot be made or opened; texts of the original where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SslError {
    /// More padding than body.
    #[error("bad pad in ssl message")]
    BadPad,
    /// No room for the digest.
    #[error("ssl message too short")]
    TooShort,
    /// A block cipher, and not a whole number of blocks.
    #[error("ssl encrypted message too short")]
    PartialBlock,
    /// The digest is of something else.
    #[error("bad digest")]
    BadDigest,
    /// A record of nothing: the original takes it for the end of the connection, or stops for ever.
    #[error("hungup")]
    Empty,
    /// An algorithm list that the original's device refuses.
    #[error("bad arg in system call")]
    BadAlgorithm,
    /// The cipher wants more octets of secret.
    #[error("secret too short")]
    ShortSecret,
    /// Record numbers have come to their end.
    #[error("too many records")]
    Exhausted,
    /// The padding cannot be drawn.
    #[error("no random numbers")]
    NoRandom,
}

fn next_number(number: u32) -> Result<u32, SslError> {
    // The original would begin again at zero, and so repeat a digest's input.
    number.checked_add(1).ok_or(SslError::Exhausted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [&str; 15] = [
        "clear",
        "sha1",
        "md5",
        "md4",
        "rc4_256",
        "rc4_128",
        "rc4_40",
        "des_56_cbc",
        "des_56_ecb",
        "des_40_cbc",
        "des_40_ecb",
        "ideacbc",
        "ideaecb",
        "sha1 rc4_256",
        "sha1 ideacbc",
    ];

    fn pair(list: &str, secret: &[u8]) -> (Sealer, Opener) {
        let algorithms = Algorithms::parse(list).unwrap();
        let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
        sealer.protect(algorithms, secret).unwrap();
        opener.protect(algorithms, secret).unwrap();
        (sealer, opener)
    }

    fn open_all(opener: &mut Opener) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        while let Some(data) = opener.open().unwrap() {
            got.push(data.to_vec());
        }
        got
    }

    #[test]
    fn long_data_is_cut_as_the_original_cuts_it() {
        let secret = [7; 32];
        for (list, first) in [
            ("clear", 32767),
            ("rc4_256", 32767),
            ("sha1", 32747),
            ("sha1 rc4_256", 32747),
            ("md5", 32751),
            ("des_56_cbc", 32760),
            ("md5 ideaecb", 32744),
        ] {
            let (mut sealer, mut opener) = pair(list, &secret);
            assert_eq!(sealer.limit(), first, "{list}");
            let data: Vec<u8> = (0..=u8::MAX).cycle().take(70_001).collect();
            let mut wire = Vec::new();
            sealer.seal(&data, &mut wire).unwrap();
            opener.receive(&wire);
            let got = open_all(&mut opener);
            assert_eq!(got.first().map(Vec::len), Some(first), "{list}");
            assert_eq!(got.concat(), data, "{list}");
            assert_eq!(opener.number(), sealer.number());
        }
    }

    #[test]
    fn padded_only_where_it_must_be() {
        let (mut sealer, _) = pair("md5 des_56_ecb", &[1; 8]);
        let mut wire = Vec::new();
        sealer.seal(&[0; 16], &mut wire).unwrap();
        assert_eq!(wire.get(..2), Some(&[0x80, 32][..]));
        assert_eq!(wire.len(), 34);
        wire.clear();
        sealer.seal(&[0; 13], &mut wire).unwrap();
        assert_eq!(wire.get(..3), Some(&[0, 32, 3][..]));
        // Too long for a padded record: whole blocks go first.
        wire.clear();
        sealer.seal(&[0; 16361], &mut wire).unwrap();
        assert_eq!(wire.get(..2), Some(&[0xbf, 0xf8][..]));
    }

    #[test]
    fn padding_is_taken_without_a_cipher_too() {
        let mut opener = Opener::new();
        opener.receive(&[0, 5, 2, b'a', b'b', b'c', 0, 0, 0, 1, 1, 9]);
        assert_eq!(open_all(&mut opener), [b"abc".to_vec(), Vec::new()]);
        assert!(opener.is_between());
        let (mut sealer, mut opener) = pair("sha1", b"s");
        let mut wire = Vec::new();
        sealer.seal(b"abcXX", &mut wire).unwrap();
        wire.splice(..2, [0, 25, 2]);
        opener.receive(&wire);
        assert_eq!(open_all(&mut opener), [b"abc".to_vec()]);
    }

    #[test]
    fn refusals() {
        let refuse = |list: &str, wire: &[u8]| {
            let (_, mut opener) = pair(list, &[3; 16]);
            opener.receive(wire);
            let error = opener.open().unwrap_err();
            opener.receive(&[0x80, 1, 0]);
            assert_eq!(opener.open().unwrap_err(), error, "it stays");
            error.to_string()
        };
        assert_eq!(
            refuse("clear", &[0, 1, 2, 0, 0, 0]),
            "bad pad in ssl message"
        );
        assert_eq!(refuse("sha1", &[0x80, 3, 1, 2, 3]), "ssl message too short");
        assert_eq!(refuse("md4", &[0x90; 0x1092]), "bad digest");
        assert_eq!(
            refuse("ideacbc", &[0x80, 3, 1, 2, 3]),
            "ssl encrypted message too short"
        );
        for empty in [&[0x80, 0][..], &[0, 0, 0], &[0x40, 0]] {
            assert_eq!(refuse("clear", empty), "hungup");
            assert_eq!(refuse("sha1", empty), "hungup");
        }
    }

    #[test]
    fn keys_have_their_lengths() {
        let mut sealer = Sealer::new();
        for (list, wants) in [("descbc", 8), ("des_40_ecb", 8), ("ideacbc", 16)] {
            let algorithms = Algorithms::parse(list).unwrap();
            assert_eq!(
                sealer.protect(algorithms, &vec![1; wants - 1]),
                Err(SslError::ShortSecret)
            );
            assert_eq!(sealer.protect(algorithms, &vec![1; wants]), Ok(()));
        }
    }

    #[test]
    fn des_of_40_bits_masks_every_other_octet_of_the_key() {
        let secret: Vec<u8> = (0..16).map(|at| 0xf1 + at % 8).collect();
        let mut masked = secret.clone();
        for octet in masked.iter_mut().take(8).step_by(2) {
            *octet &= 0x0f;
        }
        for (short, long) in [("des_40_cbc", "des_56_cbc"), ("des_40_ecb", "des_56_ecb")] {
            let wire_of = |list, secret| {
                let mut wire = Vec::new();
                pair(list, secret).0.seal(&[7; 16], &mut wire).unwrap();
                wire
            };
            assert_eq!(wire_of(short, &secret), wire_of(long, &masked));
            assert_ne!(wire_of(short, &secret), wire_of(long, &secret));
        }
    }

    #[test]
    fn a_record_is_good_once_and_in_its_place() {
        let (mut sealer, mut opener) = pair("sha1", b"secret");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        sealer.seal(b"first", &mut first).unwrap();
        sealer.seal(b"second", &mut second).unwrap();
        opener.receive(&first);
        assert!(opener.open().unwrap().is_some());
        opener.receive(&first);
        assert_eq!(opener.open(), Err(SslError::BadDigest));
    }

    #[test]
    fn the_count_goes_on_over_a_change() {
        let (mut sealer, mut opener) = pair("clear", b"");
        let mut wire = Vec::new();
        sealer.seal(b"clear", &mut wire).unwrap();
        opener.receive(&wire);
        assert!(opener.open().unwrap().is_some());
        sealer.protect(Algorithms::SHA1, b"k").unwrap();
        opener.protect(Algorithms::SHA1, b"k").unwrap();
        wire.clear();
        sealer.seal(b"x", &mut wire).unwrap();
        // SHA-1 of "kx" and 1 in four octets.
        let right = kx_crypto::digest::sha1(&[b"kx\0\0\0\x01"]);
        assert_eq!(wire.get(2..22), Some(&right[..]));
        opener.receive(&wire);
        assert_eq!(open_all(&mut opener), [b"x".to_vec()]);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_any_pieces(
            which in 0..ALL.len(),
            secret in prop::collection::vec(any::<u8>(), 24..300),
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
            pieces in prop::collection::vec(1usize..60, 1..40),
        ) {
            let (mut sealer, mut opener) = pair(ALL[which], &secret);
            let mut wire = Vec::new();
            for write in &writes {
                sealer.seal(write, &mut wire).unwrap();
            }
            let mut got = Vec::new();
            let mut left = wire.as_slice();
            for piece in pieces.iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (now, later) = left.split_at(left.len().min(*piece));
                opener.receive(now);
                left = later;
                got.extend(open_all(&mut opener));
            }
            prop_assert_eq!(got, writes);
            prop_assert!(opener.is_between());
        }

        #[test]
        fn hostile_octets_end_in_an_error_or_wait(
            which in 0..ALL.len(),
            wire in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (_, mut opener) = pair(ALL[which], &[5; 24]);
            opener.receive(&wire);
            while let Ok(Some(data)) = opener.open() {
                prop_assert!(data.len() <= BODY_LIMIT);
            }
        }
    }
}
