//! Share files and the notes of custodians: three lines a note. (Opening a file takes seconds, so that
//! is left to the tests.)
#![no_main]
use libfuzzer_sys::fuzz_target;
use xkek::dkek::ShareFile;
use xkek::shamir::{Share, candidates, combine};

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = ShareFile::parse(data) {
        assert_eq!(file.encode()[..], *data);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().take(24).collect();
    let mut shares = Vec::new();
    for note in lines.chunks_exact(3) {
        let Ok(share) = Share::parse(note[0], note[1], note[2]) else {
            return;
        };
        let again = Share::parse(
            &share.prime_text(),
            &share.id.to_string(),
            &share.value_text(),
        )
        .expect("written just now");
        assert_eq!(again.prime, share.prime);
        assert!(again.value.ct_eq(share.value.as_slice()));
        shares.push(share);
    }
    if let Ok(secret) = combine(&shares) {
        // The order does not matter.
        shares.reverse();
        let again = combine(&shares).expect("the same shares");
        assert!(again.ct_eq(secret.as_slice()));
        assert!(candidates(&shares).is_ok_and(|list| list[0].ct_eq(secret.as_slice())));
    }
});
