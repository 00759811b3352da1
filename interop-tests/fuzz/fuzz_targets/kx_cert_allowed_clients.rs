//! Any text as allowed_clients or as kxc's server certificates.
#![no_main]
use kx_cert::anchors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let allowed = anchors::parse_allowed_clients(data);
    let _ = anchors::parse_server_certificates(data);
    let entries = anchors::entries(data);
    if let Ok(certificates) = allowed {
        let good = entries.iter().filter(|e| e.verdict.is_ok()).count();
        assert_eq!(good, certificates.len());
        if let (Some(leaf), Some(anchor)) = (certificates.first(), certificates.last()) {
            let now = leaf.not_before();
            let _ = kx_cert::verify::verify(leaf, std::slice::from_ref(anchor), &certificates, None, &now);
        }
    }
});
