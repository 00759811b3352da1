//! A key exchange message of the standard from a stranger, as either message and with every key exchange.
#![no_main]
use kx_crypto::aead::Algorithm;
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::rfc8548::init::{HEADER_LEN, Init1, Init2, MAX_LEN, Message, len};

const OURS: [Algorithm; 3] = [
    Algorithm::Aes128Gcm,
    Algorithm::Aes256Gcm,
    Algorithm::ChaCha20Poly1305,
];

fuzz_target!(|data: &[u8]| {
    for message in [Message::Init1, Message::Init2] {
        // What is said of the length of a part holds for all longer parts.
        let mut said = Ok(None);
        for cut in 0..=data.len().min(HEADER_LEN + 2) {
            let now = len(message, &data[..cut]);
            assert!(said == Ok(None) || said == now, "changed its mind");
            said = now;
        }
        assert_eq!(said, len(message, data));
        if let Ok(Some(len)) = said {
            assert!((HEADER_LEN..=MAX_LEN).contains(&len));
        }
    }
    for tep in Tep::ALL {
        let curve = tep.curve();
        let mut built = Vec::new();
        if let Ok(init1) = Init1::parse(data, curve) {
            init1.build(curve, &mut built);
            assert_eq!(Init1::parse(&built, curve), Ok(init1));
            if let Ok(algorithm) = init1.choose(&OURS) {
                assert!(OURS.contains(&algorithm));
            }
        } else if let Ok(init2) = Init2::parse(data, curve) {
            init2.build(curve, &mut built);
            assert_eq!(Init2::parse(&built, curve), Ok(init2));
            let _ = init2.chosen(&OURS);
        } else {
            continue;
        }
        // Behind the key may be more, which is not sent again. In front of it, the length may be another.
        assert!(built.len() <= data.len());
        assert_eq!(built[HEADER_LEN..], data[HEADER_LEN..built.len()]);
    }
});
