//! Any text as allowed_clients or as kxc's server certificates.
#![no_main]
use kx_cert::anchors::{self, Anchors};
use kx_cert::verify::verify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let allowed = anchors::parse_allowed_clients(data);
    let good = anchors::entries(data)
        .iter()
        .filter(|entry| entry.verdict.is_ok())
        .count();
    // `--check` counts what the server counts.
    assert_eq!(good, allowed.as_ref().map_or(0, Vec::len));
    if let Ok(server) = anchors::parse_server_certificates(data) {
        assert_eq!(Some(server.anchors), allowed.clone().ok());
    }
    let Ok(certificates) = allowed else { return };
    for leaf in certificates.iter().take(4) {
        let now = leaf.not_before();
        // The short cut for a client whose certificate stands in the file gives the long way's verdict.
        let short = Anchors::load(data, leaf).map(|anchors| anchors.verify(leaf, &[], &now));
        assert_eq!(short, Ok(verify(leaf, &certificates, &[], None, &now)));
        // And over the others, as if they were sent along.
        let last = certificates.last().map_or(&[][..], std::slice::from_ref);
        if let Ok(chains) = verify(leaf, last, &certificates, None, &now) {
            assert!(!chains.is_empty());
            assert!(
                chains
                    .iter()
                    .all(|chain| chain.first() == Some(leaf) && chain.last() == last.first())
            );
        }
    }
});
