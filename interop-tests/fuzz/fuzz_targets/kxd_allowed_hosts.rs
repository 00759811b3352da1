//! Any text as allowed_hosts.
#![no_main]
use kxd::key_store::AllowedHosts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let hosts = AllowedHosts::parse(data);
    for address in hosts.addresses() {
        assert!(hosts.decide(address, &[]));
    }
});
