//! Records of a stranger; and the same octets as what one end sends the other, with one of them changed.
//! The first octet chooses the algorithms.
#![no_main]
use inferno_auth::ssl::{Algorithms, BODY_LIMIT, Opener, Policy, Sealer};
use kx_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

const LISTS: [&str; 16] = [
    "clear",
    "sha1",
    "md5",
    "md4",
    "rc4_40",
    "rc4_128",
    "rc4_256",
    "descbc",
    "des_56_ecb",
    "des_40_cbc",
    "des_40_ecb",
    "ideacbc",
    "ideaecb",
    "sha1/rc4_256",
    "sha1 ideacbc",
    "md4/desecb",
];

fn ends(algorithms: Algorithms) -> (Sealer, Opener) {
    let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
    let secret: Vec<u8> = (1..=64).collect();
    sealer.protect(algorithms, &secret).expect("long enough");
    opener.protect(algorithms, &secret).expect("long enough");
    (sealer, opener)
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else {
        return;
    };
    if let Ok(chosen) = Policy::Weak.choose(text) {
        assert_ne!(chosen, Algorithms::CLEAR, "in clear");
    }
    if let Ok(chosen) = Policy::Exact.choose(text) {
        assert_eq!(chosen, Algorithms::SHA1_RC4_256);
    }
    let list = LISTS[usize::from(first) % LISTS.len()];
    let algorithms = Algorithms::parse(list).expect("known");

    // Foreign octets, whole and in pieces.
    let open_all = |opener: &mut Opener, got: &mut Vec<Vec<u8>>| loop {
        match opener.open() {
            Ok(Some(data)) => {
                assert!(data.len() <= BODY_LIMIT);
                got.push(data.to_vec());
            }
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    };
    let (_, mut opener) = ends(algorithms);
    let mut whole = Vec::new();
    opener.receive(text);
    let end = open_all(&mut opener, &mut whole);
    let (_, mut opener) = ends(algorithms);
    let (mut cut, mut cut_end) = (Vec::new(), None);
    for piece in pieces(text) {
        opener.receive(piece);
        cut_end = open_all(&mut opener, &mut cut);
    }
    assert_eq!((cut, cut_end), (whole, end));

    // Our own.
    if text.is_empty() {
        return;
    }
    let (mut sealer, mut opener) = ends(algorithms);
    let mut wire = Vec::new();
    sealer.seal(text, &mut wire).expect("sealed");
    opener.receive(&wire);
    let mut got = Vec::new();
    assert_eq!(open_all(&mut opener, &mut got), None);
    assert_eq!(got.concat(), text);
    if algorithms.digest.is_some() && wire.len() > 3 {
        let at = 3 + usize::from(first) % (wire.len() - 3);
        wire[at] ^= 1;
        let (_, mut opener) = ends(algorithms);
        opener.receive(&wire);
        let mut got = Vec::new();
        open_all(&mut opener, &mut got);
        assert_ne!(got.concat(), text, "changed");
    }
});
