//! Messages of 9P2000: what is parsed can be built again, octet for octet.
#![no_main]
use kx_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;
use styx::message::{Reply, Request, Stat};

fuzz_target!(|octets: &[u8]| {
    let mut built = SecretBytes::default();
    if let Ok(request) = Request::parse(octets) {
        request.build(&mut built).expect("was built before");
        assert_eq!(built.as_slice(), octets);
        let _ = request.to_string();
    }
    built.truncate(0);
    if let Ok(reply) = Reply::parse(octets) {
        reply.build(&mut built).expect("was built before");
        assert_eq!(built.as_slice(), octets);
        let _ = reply.to_string();
    }
    built.truncate(0);
    if let Ok(entries) = Stat::parse_all(octets) {
        for entry in entries {
            // An entry may be as long as its own length allows, and too long for a message then.
            if entry.build(&mut built).is_err() {
                return;
            }
        }
        assert_eq!(built.as_slice(), octets);
    }
});
