//! HMAC-SHA256 (RFC 2104) and HKDF over it (RFC 5869).
//!
//! It is built on the bare SHA-256 of the back end: a handshake takes a dozen of these, and each would
//! cost a look-up of the algorithm, locks and allocations through the general interface.

use openssl::sha::Sha256;

/// Octets of a key, of a pseudorandom key and of one block of output.
pub const KEY_LEN: usize = 32;

/// Octets of a block of SHA-256.
const BLOCK_LEN: usize = 64;

/// A secret of 32 octets, wiped when dropped. It lies where its owner lies, without an allocation of its
/// own. There is no `Clone` and no way to print it.
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The first `len` octets, or all if there are not so many.
    #[must_use]
    pub fn prefix(&self, len: usize) -> &[u8] {
        self.0.get(..len).unwrap_or(&self.0)
    }
}

impl From<&[u8; KEY_LEN]> for Key {
    fn from(octets: &[u8; KEY_LEN]) -> Self {
        Self(*octets)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites with zeros in a way that the compiler keeps.
pub fn wipe(octets: &mut [u8]) {
    octets.fill(0);
    zeroize::optimization_barrier(&*octets);
}

/// More output was asked for than 255 blocks (RFC 5869 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HKDF cannot give so many octets")]
pub struct TooLong;

/// One HMAC in the making. What it holds is as good as the key, so it is overwritten at the end.
struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    fn new(key: &[u8]) -> Self {
        let mut block = [0; BLOCK_LEN];
        if key.len() > BLOCK_LEN {
            let mut hash = Sha256::new();
            hash.update(key);
            copy_front(&mut block, &hash.finish());
        } else {
            copy_front(&mut block, key);
        }
        let keyed = |pad: u8| {
            let mut padded = block.map(|octet| octet ^ pad);
            let mut hash = Sha256::new();
            hash.update(&padded);
            wipe(&mut padded);
            hash
        };
        let (inner, outer) = (keyed(0x36), keyed(0x5c));
        wipe(&mut block);
        Self { inner, outer }
    }

    fn update(&mut self, octets: &[u8]) {
        self.inner.update(octets);
    }

    fn finish(mut self) -> Key {
        let mut inner = std::mem::replace(&mut self.inner, Sha256::new()).finish();
        self.outer.update(&inner);
        wipe(&mut inner);
        Key(std::mem::replace(&mut self.outer, Sha256::new()).finish())
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        self.inner = Sha256::new();
        self.outer = Sha256::new();
        zeroize::optimization_barrier(&self.inner);
        zeroize::optimization_barrier(&self.outer);
    }
}

/// Copies as much of `from` as there is room for.
fn copy_front(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// HMAC-SHA256 of the concatenated `parts`.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut hmac = Hmac::new(key);
    for part in parts {
        hmac.update(part);
    }
    hmac.finish()
}

/// HKDF-Extract (RFC 5869 section 2.2): the pseudorandom key from the input keying material, which is
/// the concatenated `ikm`.
#[must_use]
pub fn extract(salt: &[u8], ikm: &[&[u8]]) -> Key {
    hmac(salt, ikm)
}

/// HKDF-Expand (RFC 5869 section 2.3): fills `out`. The info is the concatenated `info`.
///
/// # Errors
/// [`TooLong`] when `out` has more than 8160 octets; nothing is written then.
pub fn expand(key: &Key, info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
    if out.len() > 255 * KEY_LEN {
        return Err(TooLong);
    }
    let mut previous: Option<Key> = None;
    for (counter, piece) in (1..=255u8).zip(out.chunks_mut(KEY_LEN)) {
        let block = block(key, previous.as_ref(), info, counter);
        copy_front(piece, block.as_bytes());
        previous = Some(block);
    }
    Ok(())
}

/// HKDF-Expand for exactly one block of output, which cannot fail.
#[must_use]
pub fn expand_key(key: &Key, info: &[&[u8]]) -> Key {
    block(key, None, info, 1)
}

/// The block T(`counter`) of HKDF-Expand.
fn block(key: &Key, previous: Option<&Key>, info: &[&[u8]], counter: u8) -> Key {
    let mut hmac = Hmac::new(key.as_bytes());
    if let Some(previous) = previous {
        hmac.update(previous.as_bytes());
    }
    for part in info {
        hmac.update(part);
    }
    hmac.update(&[counter]);
    hmac.finish()
}

#[cfg(test)]
mod tests {
    use super::{Key, TooLong, expand, expand_key, extract, hmac};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// RFC 4231, test cases 1 and 6 (a key longer than a block).
    #[test]
    fn hmac_vectors() {
        let tag = hmac(&[0x0b; 20], &[b"Hi ", b"There"]);
        let wanted = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(tag.as_bytes().as_slice(), hex(wanted));
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let tag = hmac(&[0xaa; 131], &[text]);
        let wanted = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(tag.as_bytes().as_slice(), hex(wanted));
    }

    /// RFC 5869, appendix A.2.
    #[test]
    fn hkdf_vector() {
        let octets = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let (ikm, salt, info) = (octets(0, 0x4f), octets(0x60, 0xaf), octets(0xb0, 0xff));
        let prk = extract(&salt, &[&ikm[..7], &ikm[7..]]);
        let wanted = "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244";
        assert_eq!(prk.as_bytes().as_slice(), hex(wanted));
        let mut okm = [0; 82];
        expand(&prk, &[&info], &mut okm).unwrap();
        let wanted = "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                      59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                      cc30c58179ec3e87c14c01d5c1f3434f1d87";
        assert_eq!(okm.as_slice(), hex(wanted));
        assert_eq!(expand_key(&prk, &[&info]).prefix(32), &okm[..32]);
    }

    #[test]
    fn bounds() {
        let key = Key::from(&[1; 32]);
        assert_eq!(expand(&key, &[], &mut [0; 8161]), Err(TooLong));
        assert_eq!(expand(&key, &[], &mut [0; 8160]), Ok(()));
        assert_eq!(expand(&key, &[], &mut []), Ok(()));
        assert_eq!(key.prefix(16).len(), 16);
        assert_eq!(key.prefix(33).len(), 32);
    }
}
