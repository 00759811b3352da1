//! Frames from a stranger; and the same octets as what two hosts send each other, with new keys now and then and
//! each frame changed once on the way.
#![no_main]
use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::Key;
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::rfc8547::Host;
use tcpcrypt_proto::rfc8548::frame::{self, Flags, KeyLimits, Opener, Sealer};
use tcpcrypt_proto::rfc8548::keys::{Keys, Suite};

fn split(host: Host, algorithm: Algorithm) -> (Sealer, Opener) {
    let suite = Suite {
        host,
        tep: Tep::X25519,
        algorithm,
    };
    Keys::new(Key::from(&[3; 32]), suite).split().expect("keys")
}

fuzz_target!(|data: &[u8]| {
    let mut said = Ok(None);
    for len in 0..=data.len().min(frame::HEADER_LEN + 2) {
        let now = frame::len(&data[..len]);
        assert!(said == Ok(None) || said == now, "changed its mind");
        said = now;
    }
    let mut out = vec![7];
    let whole = match said {
        Ok(Some(len)) => data.get(..len).unwrap_or(data),
        _ => data,
    };
    let mut stranger = split(Host::B, Algorithm::Aes128Gcm).1;
    assert!(stranger.open(0, whole, &mut out).is_err(), "forged");
    assert_eq!((out.as_slice(), stranger.generation()), (&[7][..], 0));

    let Some((&[head, limit], mut rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let algorithm = match head % 3 {
        0 => Algorithm::Aes128Gcm,
        1 => Algorithm::Aes256Gcm,
        _ => Algorithm::ChaCha20Poly1305,
    };
    let mut sealer = split(Host::A, algorithm).0;
    let mut opener = split(Host::B, algorithm).1;
    sealer.set_limits(KeyLimits {
        frames: u64::from(limit & 7),
        octets: u64::from(limit) << 2,
    });
    let mut offset = u64::from(head) << 24;
    // Each step: what happens, how long the data are, where a bit is changed.
    while let Some((&[what, len, at], behind)) = rest.split_first_chunk::<3>() {
        let (text, behind) = behind.split_at(usize::from(len).min(behind.len()));
        rest = behind;
        if what & 1 != 0 {
            sealer.rekey();
        }
        if what & 2 != 0 {
            sealer.follow(opener.generation() + u64::from(what >> 6));
        }
        let flags = Flags {
            fin: what & 0x3c == 0x3c,
            urgent: (what & 8 != 0).then(|| u16::from_be_bytes([what, at])),
        };
        let mut wire = Vec::new();
        let sealed = sealer.seal(offset, flags, text, &mut wire);
        if opener.is_finished() {
            assert!(sealed.is_err() && wire.is_empty());
            return;
        }
        sealed.expect("sealed");
        assert_eq!(wire.len(), text.len() + flags.overhead());
        assert_eq!(frame::len(&wire), Ok(Some(wire.len())));
        assert!(sealer.seal(offset, flags, text, &mut Vec::new()).is_err());
        let generation = opener.generation();
        let mut changed = wire.clone();
        let place = usize::from(at) % changed.len();
        changed[place] ^= 1 << (what >> 5);
        let mut out = Vec::new();
        assert!(opener.open(offset, &changed, &mut out).is_err(), "changed");
        assert!(opener.open(offset + 1, &wire, &mut out).is_err(), "moved");
        assert!(out.is_empty() && opener.generation() == generation);
        assert_eq!(opener.open(offset, &wire, &mut out), Ok(flags));
        assert_eq!(out, text);
        assert_eq!(opener.generation(), sealer.generation());
        assert!(opener.generation() <= generation + 1);
        offset += wire.len() as u64;
    }
});
