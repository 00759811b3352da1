//! Any octets as a certificate, with everything that is shown of one.
#![no_main]
use kx_cert::{Certificate, ServerName};
use kx_log::goquote::escape_control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(cert) = Certificate::parse(data) else {
        return;
    };
    assert_eq!(cert.der(), data);
    // The names may hold anything; what the log makes of them may not.
    for text in [cert.short(), cert.subject_log(), cert.subject_full()] {
        assert!(!kx_fuzz::has_control(&escape_control(text.as_bytes())));
    }
    let _ = (cert.signature_hex(), cert.serial_text(), cert.public_key());
    let _ = (
        cert.dns_names(),
        cert.ip_addresses(),
        kx_cert::star::has_star(&cert),
    );
    // For itself, at every edge of its validity: a pin unless the dates or usages forbid it.
    for now in [cert.not_before(), cert.not_after()] {
        let pinned = kx_cert::verify::verify(&cert, std::slice::from_ref(&cert), &[], None, &now);
        if let Ok(chains) = &pinned {
            assert_eq!(chains, &[vec![cert.clone()]]);
        }
        assert_eq!(pinned, kx_cert::verify::verify_pinned(&cert, None, &now));
    }
    for name in ["localhost", "127.0.0.1", "::1", "a.example.com"] {
        let _ = ServerName::new(name).check(&cert);
    }
    let _ = kx_cert::client_chain::parse([data, data].into_iter());
});
