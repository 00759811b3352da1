//! The key database: what can be read of a file is written back as it was.
#![no_main]
use keyfs_db::{Database, File, Key};
use libfuzzer_sys::fuzz_target;

/// The plain text becomes a file, so that the fuzzer sees through the encryption.
fn encrypted(plain: &[u8], iv: [u8; 16]) -> Vec<u8> {
    let hash = kx_crypto::digest::sha1(&[b"aescbc file", b"k"]);
    let key: [u8; 16] = *hash.first_chunk().expect("long enough");
    let mut text = plain.to_vec();
    let (blocks, tail) = text.split_at_mut(plain.len() / 16 * 16);
    kx_crypto::cbc::aes128_encrypt(&key, &iv, blocks).expect("encrypted");
    let mut mask = *blocks.last_chunk().unwrap_or(&iv);
    kx_crypto::cbc::aes128_block(&key, &mut mask).expect("encrypted");
    for (octet, mask) in tail.iter_mut().zip(mask) {
        *octet ^= mask;
    }
    [&iv[..], &text].concat()
}

fuzz_target!(|records: &[u8]| {
    let key = Key::from_password(b"k");
    // As it comes: hardly ever a database.
    let _ = Database::decode(&key, records);
    let file = encrypted(&[records, &[b'X'; 16]].concat(), [5; 16]);
    let Ok(database) = Database::decode(&key, &file) else {
        return;
    };
    for (id, user) in database.users() {
        for file in File::ALL {
            let _ = database.read(id, file, 1_800_000_000);
        }
        assert!(database.find(user.name()).is_some());
    }
    let again = database.encode(&key, [5; 16]).expect("encoded");
    assert!(again == file || database.is_empty());
});
