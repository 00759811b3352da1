//! Texts of keys: what is read is written in one way only, and read again as the same.
#![no_main]
use inferno_auth::attribute;
use inferno_auth::floor::Floor;
use inferno_auth::key::{PrivateKey, PublicKey};
use libfuzzer_sys::fuzz_target;

/// Of a number of 768 octets whose first bit is set form Z has one more than readers take, the original's too.
fn outgrows_its_reader(text: &[u8]) -> bool {
    text.split(|octet| *octet == b'\n')
        .any(|line| line.len() > 1024)
}

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::parse(data) {
        assert_eq!(key.text(), data);
        assert!(!key.owner().is_empty() && !key.owner().contains(['\n', '\0']));
        let canonical = key.canonical_text();
        // Padding can make it longer than a text may be.
        match PublicKey::parse_exact(&canonical) {
            Ok(again) if !outgrows_its_reader(&canonical) => {
                assert_eq!(again.canonical_text(), canonical);
                assert_eq!(attribute::public_key(&again), attribute::public_key(&key));
            }
            Ok(_) => {}
            Err(_) => assert!(canonical.len() > 4095),
        }
        let _ = Floor::default().check_key(&key);
    } else {
        assert!(PublicKey::parse_exact(data).is_err());
    }
    if let Ok(key) = PrivateKey::parse(data) {
        let text = key.text();
        match PrivateKey::parse(text.as_slice()) {
            Ok(again) if !outgrows_its_reader(text.as_slice()) => {
                assert!(again.text().ct_eq(text.as_slice()));
            }
            Ok(_) => {}
            Err(_) => assert!(text.len() > 4095),
        }
        // The public key is the front of the private one.
        assert!(text.as_slice().starts_with(key.public().text()));
        assert!(PublicKey::parse(data).is_ok());
    }
});
