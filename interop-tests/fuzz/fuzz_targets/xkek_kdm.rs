//! Memberships, attested keys, and telling files by their content.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xkek::chain::Roots;
use xkek::file::File;
use xkek::kdm::Membership;
use xkek::pka::AttestedKey;

fuzz_target!(|data: &[u8]| {
    if let Ok(membership) = Membership::parse(data) {
        let again = Membership::parse(&membership.encode());
        assert_eq!(again.as_ref(), Ok(&membership));
        // Nobody is trusted, so nothing can be right.
        assert!(membership.verify_signer(&Roots::none(), None).is_err());
    }
    if let Ok((key, form)) = AttestedKey::parse(data) {
        let again = AttestedKey::parse(&key.encode(form));
        assert_eq!(again, Ok((key.clone(), form)));
        assert!(key.verify(&Roots::none(), None).is_err());
    }
    if let Ok(file) = File::parse(data) {
        assert!(!file.kind().is_empty());
    }
});
