//! A key exchange message from a stranger, as either message and on either curve.
#![no_main]
use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::Curve;
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::legacy::init::{HEADER_LEN, Init1, Init2, MAX_LEN, Message};

const OURS: [Algorithm; 2] = [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm];

fuzz_target!(|data: &[u8]| {
    for message in [Message::Init1, Message::Init2] {
        // What is said of the length of a part holds for all longer parts.
        let mut said = Ok(None);
        for len in 0..=data.len().min(HEADER_LEN + 2) {
            let now = message.len(&data[..len]);
            assert!(said == Ok(None) || said == now, "changed its mind");
            said = now;
        }
        assert_eq!(said, message.len(data));
        if let Ok(Some(len)) = said {
            assert!((HEADER_LEN..=MAX_LEN).contains(&len));
        }
    }
    for curve in [Curve::P256, Curve::P521] {
        let mut built = Vec::new();
        if let Ok(init1) = Init1::parse(data, curve) {
            init1.build(&mut built);
            if let Ok(algorithm) = init1.choose(&OURS) {
                assert!(OURS.contains(&algorithm));
            }
        } else if let Ok(init2) = Init2::parse(data, curve) {
            init2.build(&mut built);
            let _ = init2.chosen(&OURS);
        } else {
            continue;
        }
        assert_eq!(built, data);
    }
});
