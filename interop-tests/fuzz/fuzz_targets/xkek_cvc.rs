//! Certificates, requests and the data of key generation: what is read is kept octet for octet, and a
//! body written again says the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xkek::curve::Curve;
use xkek::cvc::{Certificate, GenerationRequest, Request};

fuzz_target!(|data: &[u8]| {
    if let Ok(certificate) = Certificate::parse(data) {
        assert_eq!(certificate.encoded(), data);
        let same = Certificate::parse_content(certificate.content());
        assert_eq!(same.expect("the same content").body(), certificate.body());
        if let Ok(key) = certificate.public_key(Some(Curve::Secp256k1)) {
            let _ = certificate.verify(&key);
        }
    }
    if let Ok(request) = Request::parse(data) {
        assert_eq!(request.encoded(), data);
        if let Ok(key) = request.verify_inner() {
            let _ = request.verify_outer(&key);
        }
        let _ = request.body().key_domain_uid();
    }
    if let Ok(request) = GenerationRequest::parse(data) {
        let again = GenerationRequest::parse(&request.encode());
        assert_eq!(again.as_ref(), Ok(&request));
    }
});
