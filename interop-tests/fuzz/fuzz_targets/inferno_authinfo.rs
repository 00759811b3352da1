//! Authinfo files: what is read is written and read again as the same.
#![no_main]
use inferno_auth::authinfo::AuthInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(info) = AuthInfo::parse(data) else {
        return;
    };
    let certified = info.is_certified();
    assert!(certified || !info.is_signer());
    // Padding can make a message longer than it may be.
    let Ok(written) = info.to_bytes() else {
        return;
    };
    // A number of 768 octets may need one more than readers take.
    let mut lines = written.as_slice().split(|octet| *octet == b'\n');
    if let (true, Ok(again)) = (
        lines.all(|line| line.len() <= 1024),
        AuthInfo::parse(written.as_slice()),
    ) {
        assert!(again.to_bytes().unwrap().ct_eq(written.as_slice()));
        assert_eq!(again.is_certified(), certified);
    }
});
