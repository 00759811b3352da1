//! The answer's body: bounded, and in memory that is wiped.

use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;
use kx_crypto::secret::SecretBytes;

use crate::error::BodyError;

/// Octets taken at a time.
pub(crate) const PART: usize = 16 * 1024;

/// Decodes a gzip body (RFC 1952), of several members too, as the original does.
///
/// The decoder's own window is not wiped: kxd never compresses, and who puts a compressing proxy in
/// front of it has the key in that proxy's memory anyway.
///
/// # Errors
/// [`BodyError::Gzip`], [`BodyError::UnexpectedEof`] and, above `limit` octets, [`BodyError::TooLarge`].
pub(crate) fn gunzip(compressed: &[u8], limit: usize) -> Result<SecretBytes, BodyError> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut part = SecretBytes::zeroed(PART);
    let mut body = SecretBytes::default();
    loop {
        match decoder.read(part.as_mut_slice()) {
            Ok(0) => return Ok(body),
            Ok(n) if body.len().saturating_add(n) > limit => return Err(BodyError::TooLarge),
            Ok(n) => body.extend_from_slice(part.as_slice().get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && compressed.is_empty() => {
                return Err(BodyError::Eof);
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BodyError::UnexpectedEof);
            }
            Err(_) => return Err(BodyError::Gzip),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined() {
        let mut packed = gzip(b"one ");
        packed.extend(gzip(&[b'x'; 100_000]));
        let body = gunzip(&packed, 200_000).unwrap();
        assert_eq!(body.len(), 100_004);
        assert!(body.as_slice().starts_with(b"one xxx"));
    }

    #[test]
    fn faults_and_bombs() {
        let packed = gzip(&[0; 100_000]);
        assert!(matches!(gunzip(&packed, 99_999), Err(BodyError::TooLarge)));
        let cut = packed.get(..packed.len() - 4).unwrap();
        assert!(matches!(
            gunzip(cut, 200_000),
            Err(BodyError::UnexpectedEof)
        ));
        assert!(matches!(
            gunzip(b"no gzip at all", 100),
            Err(BodyError::Gzip)
        ));
        let mut wrong = packed.clone();
        if let Some(octet) = wrong.iter_mut().rev().nth(5) {
            *octet ^= 1;
        }
        assert!(matches!(gunzip(&wrong, 200_000), Err(BodyError::Gzip)));
    }
}
