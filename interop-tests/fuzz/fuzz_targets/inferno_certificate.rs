//! A certificate, and after a zero octet the key that should have made it, and after another one that which signs:
//! what is read is written and read again as the same, nothing breaks, and what a key signs it verifies.
#![no_main]
use inferno_auth::attribute;
use inferno_auth::certificate::Certificate;
use inferno_auth::floor::Floor;
use inferno_auth::key::{Algorithm, PrivateKey, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |octet| *octet == 0);
    let mut next = || parts.next().unwrap_or_default();
    let certificate = Certificate::parse(next());
    if let Ok(certificate) = &certificate {
        let text = certificate.text();
        // A number of 768 octets may need one more than readers take.
        let mut lines = text.split(|octet| *octet == b'\n');
        if text.len() <= 4095 && lines.all(|line| line.len() <= 1024) {
            assert_eq!(Certificate::parse(&text).as_ref(), Ok(certificate));
        }
        let _ = attribute::certificate(certificate);
        let _ = Floor::default().check_certificate(certificate);
        for now in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert!(!certificate.is_past(now) || certificate.is_expired(now));
        }
    }
    if let (Ok(certificate), Ok(key)) = (&certificate, PublicKey::parse(next())) {
        let _ = certificate.verify(&key, b"data");
    }
    if let Ok(key) = PrivateKey::parse(next())
        && let Ok(made) = Certificate::sign(&key, 7, b"data")
    {
        // An RSA modulus shorter than the digest: nobody can verify what it signs, with the original as with us.
        let too_short = key.public().algorithm() == Algorithm::Rsa && key.public().bits() <= 160;
        assert!(too_short || made.verify(key.public(), b"data"));
        assert!(made.is_expired(7) && !made.is_past(7));
    }
});
