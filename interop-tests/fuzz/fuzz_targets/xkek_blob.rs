//! Key blobs: those of somebody without the key are refused; with the key, whatever is inside is a key
//! or an error. The first octet says which: a blob as it is, or clear text to be sealed first.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xkek::blob::{self, Attributes, Blob};
use xkek::crypto::{aes_cmac, aes256_cbc_encrypt};
use xkek::kek::Kek;
use xkek::rng::System;
use xkek::wky::WrappedKey;

/// What goes before the clear text of each kind, up to the lists.
const HEADS: [&[u8]; 4] = [
    &[5, 0, 10, 4, 0, 0x7f, 0, 7, 2, 2, 2, 1, 2],
    &[6, 0, 10, 4, 0, 0x7f, 0, 7, 2, 2, 2, 1, 2],
    &[12, 0, 10, 4, 0, 0x7f, 0, 7, 2, 2, 2, 2, 3],
    &[15, 0, 8, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1],
];

fuzz_target!(|data: &[u8]| {
    let kek = Kek::from_bytes(&[7; 32]);
    if let Ok(wrapped) = WrappedKey::parse(data) {
        assert!(Blob::parse(&wrapped.blob).is_ok());
    }
    if let Ok(blob) = Blob::parse(data) {
        assert_eq!(blob.encoded(), data);
        assert!(blob.open(&kek, &mut System).is_err());
    }
    let Some((first, plain)) = data.split_first() else {
        return;
    };
    let mut plain = plain.to_vec();
    plain.resize(plain.len().next_multiple_of(16).max(16), 0);
    let mut sealed = kek.kcv().0.to_vec();
    sealed.extend_from_slice(HEADS[usize::from(first % 4)]);
    sealed.extend_from_slice(&[0; 6]);
    let text = aes256_cbc_encrypt(kek.encryption_key().as_slice(), &[0; 16], &plain);
    sealed.extend_from_slice(text.expect("whole blocks").as_slice());
    let mac = aes_cmac(kek.mac_key().as_slice(), &sealed).expect("a key of 32 octets");
    sealed.extend_from_slice(&mac);
    let Ok(blob) = Blob::parse(&sealed) else {
        // Only for being too long.
        assert!(sealed.len() > blob::MAX);
        return;
    };
    if let Ok(opened) = blob.open(&kek, &mut System) {
        let again = blob::seal(&kek, &opened.key, &Attributes::default(), &mut System);
        let again = Blob::parse(&again.expect("a key that was read")).expect("made just now");
        let again = again.open(&kek, &mut System).expect("made just now");
        assert_eq!(again.key.public(), opened.key.public());
    }
});
