//! Ciphertext from a stranger; and the same octets as what two hosts send each other, with one of them
//! changed on the way.
#![no_main]
use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::Key;
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::legacy::keys::{Role, Suite, TrafficKeys};
use tcpcrypt_proto::legacy::record::{self, Flags, MAX_DATA_LEN, OffsetForm, Opener, Sealer};

fn ends(start: u32) -> (Sealer, Opener) {
    let keys = |role| {
        let suite = Suite {
            role,
            tep: Tep::P256,
            algorithm: Algorithm::Aes128Gcm,
        };
        TrafficKeys::derive(&Key::from(&[3; 32]), suite)
    };
    let (sealer, _) = keys(Role::Client).split(start, 0).expect("keys");
    let (_, opener) = keys(Role::Server).split(0, start).expect("keys");
    (sealer, opener)
}

fuzz_target!(|data: &[u8]| {
    let mut said = Ok(None);
    for len in 0..=data.len().min(record::HEADER_LEN + 2) {
        let now = record::len(&data[..len]);
        assert!(said == Ok(None) || said == now, "changed its mind");
        said = now;
    }
    let mut out = vec![7];
    let whole = match said {
        Ok(Some(len)) => data.get(..len).unwrap_or(data),
        _ => data,
    };
    assert!(ends(0).1.open(0, whole, &mut out).is_err(), "forged");
    assert_eq!(out, [7]);

    let Some((head, text)) = data.split_first_chunk::<16>() else {
        return;
    };
    let text = &text[..text.len().min(MAX_DATA_LEN)];
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let start = word(0);
    let offset = u64::from(word(4)) | u64::from(head[8]) << 32;
    let flags = Flags {
        fin: head[9] & 1 != 0,
        urgent: (head[9] & 2 != 0).then(|| u16::from_be_bytes([head[10], head[11]])),
    };
    let (mut sealer, mut opener) = ends(start);
    if head[9] & 4 != 0 {
        sealer.set_form(OffsetForm::Subtracted);
    }
    let mut wire = Vec::new();
    let sealed = sealer.seal(offset, flags, text, &mut wire);
    if head[9] & 4 != 0 && offset >= 1 << 32 {
        assert!(sealed.is_err() && wire.is_empty());
        return;
    }
    sealed.expect("sealed");
    assert_eq!(wire.len(), text.len() + flags.overhead());
    assert_eq!(record::len(&wire), Ok(Some(wire.len())));
    assert!(
        sealer.seal(offset, flags, text, &mut Vec::new()).is_err(),
        "two records for one place"
    );

    let mut changed = wire.clone();
    let at = usize::from(u16::from_be_bytes([head[12], head[13]])) % changed.len();
    changed[at] ^= 1 << (head[14] & 7);
    let mut out = Vec::new();
    assert!(opener.open(offset, &changed, &mut out).is_err(), "changed");
    assert!(opener.open(offset + 1, &wire, &mut out).is_err(), "moved");
    assert!(out.is_empty());
    assert_eq!(opener.open(offset, &wire, &mut out), Ok(flags));
    assert_eq!(out, text);
});
