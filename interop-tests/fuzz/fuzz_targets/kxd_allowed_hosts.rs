//! Any text as allowed_hosts.
#![no_main]
use std::net::IpAddr;

use kxd::key_store::AllowedHosts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let hosts = AllowedHosts::parse(data);
    for address in hosts.addresses() {
        let (plain, _zone) = address.split_once('%').unwrap_or((address, ""));
        assert!(plain.parse::<IpAddr>().is_ok());
        assert!(hosts.decide(address, &[]));
    }
    for name in hosts.names() {
        // A name is looked up, so it counts by what it resolves to and by nothing else.
        assert!(name.parse::<IpAddr>().is_err() && name.is_ascii());
        assert!(!hosts.decide(name, &[]));
        let resolved = [(name.clone(), vec!["192.0.2.1".to_owned()])];
        assert!(hosts.decide("192.0.2.1", &resolved));
    }
    // Nobody is let in by a file that does not have him in it.
    if !data.windows(9).any(|window| window == b"192.0.2.7") {
        assert!(!hosts.decide("192.0.2.7", &[]));
    }
});
