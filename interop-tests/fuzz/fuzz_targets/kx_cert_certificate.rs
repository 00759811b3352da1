//! Any octets as a certificate, with everything that is shown of one.
#![no_main]
use kx_cert::Certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(cert) = Certificate::parse(data) {
        assert_eq!(cert.der(), data);
        assert!(!cert.short().contains('\n'));
        let _ = (cert.subject_full(), cert.signature_hex(), cert.serial_text(), cert.not_after());
        let now = cert.not_before();
        // Against itself: a pin unless the dates or usages forbid it.
        let _ = kx_cert::verify::verify(&cert, std::slice::from_ref(&cert), &[], None, &now);
    }
});
